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
Completes commands and flags, and live values: topics, jobs, asset ids, groups, profiles.

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
    Ok(script)
}
