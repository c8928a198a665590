# fish completion for taskgate: taskgate completion fish > ~/.config/fish/completions/taskgate.fish
function __taskgate_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command $words[1] __complete $words[2..-1] 2>/dev/null)
    if test (count $lines) -gt 0
        printf '%s\n' $lines
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c taskgate -f -a '(__taskgate_complete)'
