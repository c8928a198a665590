#compdef taskgate
# zsh completion for taskgate: source <(taskgate completion zsh), after compinit
_taskgate() {
	local -a candidates
	local line word help
	for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] || continue
		word="${line%%$'\t'*}" help="${line#*$'\t'}"
		candidates+=("${word//:/\\:}${help:+:$help}")
	done
	if ((${#candidates})); then
		_describe -t taskgate taskgate candidates -U -Q
	else
		_files
	fi
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
	_taskgate "$@"
else
	compdef _taskgate taskgate
fi
