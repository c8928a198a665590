# bash completion for taskgate: source <(taskgate completion bash)
_taskgate() {
	local -a words=("")
	local n=0 i word line
	# Bash takes "=" and ":" for words of their own: "--state=fa" comes as three.
	for ((i = 1; i <= COMP_CWORD; i++)); do
		word="${COMP_WORDS[i]}"
		if ((i > 1)) && [[ $word == [=:]* || ${words[n]} == *[=:] ]]; then
			words[n]="${words[n]}$word"
		else
			((i == 1)) || n=$((n + 1))
			words[n]="$word"
		fi
	done
	# What bash replaces is its own last word only.
	word="${COMP_WORDS[COMP_CWORD]}"
	local before="${words[n]%"${word##[=:]}"}"
	COMPREPLY=()
	while IFS= read -r line; do
		line="${line%%$'\t'*}"
		COMPREPLY+=("${line#"$before"}")
	done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
}
complete -o default -F _taskgate taskgate
