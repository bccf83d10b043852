//! `mfctl completions`: prints a shell script that calls this binary for completions, live values included.

use clap::Args as ClapArgs;
use clap_complete::env::Shells;

use super::context::Context;
use super::failure::{Failure, Result};

/// Variable that the scripts set to ask for completions; the default of `clap_complete`.
const REQUEST_VARIABLE: &str = "COMPLETE";

/// Shells whose scripts are in the repository, with their file names.
pub(super) const SCRIPT_FILES: [(&str, &str); 3] = [("bash", "mfctl.bash"), ("zsh", "_mfctl"), ("fish", "mfctl.fish")];

/// Arguments of `mfctl completions`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Completes commands and flags, and live values: topics, jobs, asset ids, dead letters, error kinds, collections,
tags, groups, settings, profiles.

Examples:
  source <(mfctl completions bash)                              in this shell
  mfctl completions zsh > \"${fpath[1]}/_mfctl\"                  in every new zsh
  mfctl completions fish > ~/.config/fish/completions/mfctl.fish

Exit codes: 0, 2 no script for this shell")]
pub struct Args {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Prints the script of a shell.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Args, cx: &Context) -> Result<()> {
    cx.out().raw(&script(&args.shell, "mfctl")?)
}

/// The completion script of a shell, which calls the program `completer`.
pub(super) fn script(shell: &str, completer: &str) -> Result<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| Failure::usage(format!("no script for {shell}")))?;
    let mut script = Vec::new();
    shell
        .write_registration(REQUEST_VARIABLE, "mfctl", "mfctl", completer, &mut script)
        .map_err(|error| Failure::unexpected("cannot write the script").because(&error))?;
    match shell.name() {
        "bash" => {
            String::from_utf8(script).ok().and_then(|script| with_whole_words_quoted(&script)).map(String::into_bytes)
        }
        _ => Some(script),
    }
    .ok_or_else(|| Failure::unexpected("the script of bash has a form that is not known"))
}

/// The script of bash, which passes on whole words: bash splits them at `:` and `=` (`COMP_WORDBREAKS`), which are part
/// of the ids of dead letters and of `KEY=VALUE`, and replaces only what is behind these (`$2`). What it inserts is
/// quoted, unless the word has quotes already. `None` for a script of another form.
fn with_whole_words_quoted(script: &str) -> Option<String> {
    const CALL: &str = "    COMPREPLY=( $( \\\n";
    const END: &str = "        compopt -o nospace\n    fi\n}\n";
    const WHOLE: &str = r#"    local typed="${COMP_LINE:0:COMP_POINT}" before=""
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
"#;
    const TRIM_AND_QUOTE: &str = r#"    [[ -z $before ]] || COMPREPLY=("${COMPREPLY[@]#"$before"}")
    if [[ ${BASH_VERSINFO[0]} -ge 4 && ${COMP_WORDS[COMP_CWORD]} != *[\'\"]* ]]; then
        local index
        for index in "${!COMPREPLY[@]}"; do
            [[ -z ${COMPREPLY[index]} ]] || printf -v "COMPREPLY[index]" %q "${COMPREPLY[index]}"
        done
    fi
}
"#;
    let (head, rest) = script.split_once(CALL)?;
    let (body, tail) = rest.split_once(END)?;
    let end = END.strip_suffix("}\n")?;
    Some(format!("{head}{WHOLE}{CALL}{body}{end}{TRIM_AND_QUOTE}{tail}"))
}
