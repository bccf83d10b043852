//! `mfctl completions`: a script that asks this binary for completions, live values included.

use std::io::Write;

use clap::Args as ClapArgs;
use clap_complete::env::Shells;

use super::context::Context;
use super::failure::{Failure, Result};

/// The variable by which the scripts ask; the default of `clap_complete`.
const VARIABLE: &str = "COMPLETE";

/// Shells there are scripts for, with the file name each goes by.
pub(super) const FILES: [(&str, &str); 3] = [("bash", "mfctl.bash"), ("zsh", "_mfctl"), ("fish", "mfctl.fish")];

/// Arguments of `mfctl completions`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Completes verbs and flags, and live values: topics, jobs, asset ids, groups, profiles.

Examples:
  source <(mfctl completions bash)                              this shell
  mfctl completions zsh > \"${fpath[1]}/_mfctl\"                  every new zsh
  mfctl completions fish > ~/.config/fish/completions/mfctl.fish

Exit codes: 0, 2 a shell there is no script for")]
pub struct Args {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

/// Runs the verb.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Args, cx: &Context) -> Result<()> {
    cx.out().raw(&script(&args.shell, "mfctl")?)
}

/// The script of a shell that calls `completer`.
pub(super) fn script(shell: &str, completer: &str) -> Result<Vec<u8>> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| Failure::usage(format!("no script for {shell}")))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "mfctl", "mfctl", completer, &mut script)
        .and_then(|()| script.write_all(b""))
        .map_err(|error| Failure::unexpected("cannot write the script").because(&error))?;
    Ok(script)
}
