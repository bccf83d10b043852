
_clap_complete_mfctl() {
    local IFS=$'\013'
    local _CLAP_COMPLETE_INDEX=${COMP_CWORD}
    local _CLAP_COMPLETE_COMP_TYPE=${COMP_TYPE}
    if compopt +o nospace 2> /dev/null; then
        local _CLAP_COMPLETE_SPACE=false
    else
        local _CLAP_COMPLETE_SPACE=true
    fi
    local words=("${COMP_WORDS[@]}")
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        words[COMP_CWORD]="$2"
    fi
    local typed="${COMP_LINE:0:COMP_POINT}" before=""
    if [[ -n $typed && $typed != *[\'\"\\]* ]]; then
        IFS=$' \t\n' read -r -a words <<< "$typed"
        [[ $typed == *[[:space:]] ]] && words+=("")
        _CLAP_COMPLETE_INDEX=$(( ${#words[@]} - 1 ))
        before="${words[_CLAP_COMPLETE_INDEX]}"
        before="${before%"$2"}"
    elif [[ $2 != *[\'\"]* ]]; then
        # Without -r, read takes backslashes off.
        IFS= read "words[COMP_CWORD]" <<< "$2"
    fi
    COMPREPLY=( $( \
        _CLAP_IFS="$IFS" \
        _CLAP_COMPLETE_INDEX="$_CLAP_COMPLETE_INDEX" \
        _CLAP_COMPLETE_COMP_TYPE="$_CLAP_COMPLETE_COMP_TYPE" \
        _CLAP_COMPLETE_SPACE="$_CLAP_COMPLETE_SPACE" \
        COMPLETE="bash" \
        "mfctl" -- "${words[@]}" \
    ) )
    if [[ $? != 0 ]]; then
        unset COMPREPLY
    elif [[ $_CLAP_COMPLETE_SPACE == false ]] && [[ "${COMPREPLY-}" =~ [=/:]$ ]]; then
        compopt -o nospace
    fi
    [[ -z $before ]] || COMPREPLY=("${COMPREPLY[@]#"$before"}")
    if [[ ${BASH_VERSINFO[0]} -ge 4 && ${COMP_WORDS[COMP_CWORD]} != *[\'\"]* ]]; then
        local index
        for index in "${!COMPREPLY[@]}"; do
            [[ -z ${COMPREPLY[index]} ]] || printf -v "COMPREPLY[index]" %q "${COMPREPLY[index]}"
        done
    fi
}
if [[ "${BASH_VERSINFO[0]}" -eq 4 && "${BASH_VERSINFO[1]}" -ge 4 || "${BASH_VERSINFO[0]}" -gt 4 ]]; then
    complete -o nospace -o bashdefault -o nosort -F _clap_complete_mfctl mfctl
else
    complete -o nospace -o bashdefault -F _clap_complete_mfctl mfctl
fi

