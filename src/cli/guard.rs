//! Confirmation of changes that cannot be undone.
//!
//! A prompt needs a terminal on stdin and stderr and defaults to No. Without a terminal the command ends at once with
//! exit 8 and reads nothing, so that no script answers by accident. `--yes` and `--confirm` are flags only, never
//! environment variables or settings.

use std::io::IsTerminal;

use super::failure::{Failure, FailureKind, Result};
use super::globals::Globals;
use super::output::{Output, escape};
use crate::ops::pin;
use crate::ops::target::Target;

/// A change that needs confirmation.
#[derive(Debug, Clone)]
pub struct GuardedChange {
    /// The command as typed, e.g. `dlq discard`.
    pub verb: &'static str,
    /// The effect, with counts: `discard 12 dead letters of ingest.raw.dlq`.
    pub summary: String,
    /// Whether a protected profile requires its environment's name: discard, trim, prune, restore, rollback, rotate,
    /// takedown and bulk reprocess.
    pub dangerous: bool,
}

/// The operator's terminal, for prompts.
pub trait PromptTerminal {
    /// Whether a prompt is possible: stdin and stderr are a terminal.
    fn can_prompt(&self) -> bool;

    /// Reads one line; `None` at the end of input.
    ///
    /// # Errors
    /// When stdin cannot be read.
    fn read_line(&mut self) -> std::io::Result<Option<String>>;
}

/// This process's stdin and stderr.
#[derive(Debug, Default)]
pub struct Console;

impl PromptTerminal for Console {
    fn can_prompt(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    fn read_line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    }
}

/// Prompts for confirmation unless the flags give it. Call it before the signal handlers are installed, so that Ctrl-C
/// ends the prompt.
///
/// # Errors
/// Exit 8 when the answer is not yes, there is no terminal, or the data folder is pinned to another target.
pub fn confirm(change: &GuardedChange, globals: &Globals, target: &Target, output: &Output) -> Result<()> {
    pin::verify(target)?;
    confirm_on(&mut Console, change, globals, target, output)
}

/// [`confirm`] without the check of the pin, for the command that changes the pin.
///
/// # Errors
/// Exit 8 when the answer is not yes, or there is no terminal.
pub fn confirm_unpinned(change: &GuardedChange, globals: &Globals, target: &Target, output: &Output) -> Result<()> {
    confirm_on(&mut Console, change, globals, target, output)
}

/// [`confirm`] on a given terminal.
///
/// # Errors
/// As [`confirm`].
pub fn confirm_on(
    terminal: &mut dyn PromptTerminal,
    change: &GuardedChange,
    globals: &Globals,
    target: &Target,
    output: &Output,
) -> Result<()> {
    let environment = target.environment.as_str();
    if let Some(named) = globals.confirm.as_deref().filter(|named| *named != environment) {
        return Err(Failure::refused(format!(
            "--confirm names {named:?}, but this profile's environment is {environment}"
        ))
        .hint("check --profile: you may be about to change the wrong environment"));
    }
    let needs_name = target.protected && change.dangerous;
    if globals.yes && (!needs_name || globals.confirm.is_some()) {
        return Ok(());
    }
    if !terminal.can_prompt() {
        return Err(no_terminal(change, environment, needs_name));
    }
    if needs_name {
        prompt_for_name(terminal, change, environment, output)
    } else {
        prompt_for_yes(terminal, change, output)
    }
}

fn no_terminal(change: &GuardedChange, environment: &str, needs_name: bool) -> Failure {
    let flags = if needs_name { format!("--yes --confirm {environment}") } else { "--yes".to_owned() };
    let failure = Failure::refused(format!("{} needs confirmation and there is no terminal to prompt on", change.verb));
    failure.hint(format!("it would {}; if that is what you want, add {flags}", change.summary))
}

fn prompt_for_yes(terminal: &mut dyn PromptTerminal, change: &GuardedChange, output: &Output) -> Result<()> {
    output.ask(&format!("This will {}. Continue? [y/N] ", escape(&change.summary)));
    let answer = read_answer(terminal)?;
    if answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes") { Ok(()) } else { Err(declined(change)) }
}

fn prompt_for_name(
    terminal: &mut dyn PromptTerminal,
    change: &GuardedChange,
    environment: &str,
    output: &Output,
) -> Result<()> {
    output.ask(&format!(
        "This will {} in {environment}, which is protected.\nType the environment's name to continue: ",
        escape(&change.summary)
    ));
    if read_answer(terminal)? == environment { Ok(()) } else { Err(declined(change)) }
}

fn read_answer(terminal: &mut dyn PromptTerminal) -> Result<String> {
    let line = terminal
        .read_line()
        .map_err(|error| Failure::new(FailureKind::Refused, "cannot read the answer").because(&error))?;
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn declined(change: &GuardedChange) -> Failure {
    Failure::refused(format!("{} was not confirmed; nothing was changed", change.verb))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::output::{Captured, OutputOptions};
    use super::*;
    use crate::ops::target::tests::target;

    struct ScriptedTerminal {
        terminal: bool,
        answer: Option<&'static str>,
        reads: usize,
    }

    impl PromptTerminal for ScriptedTerminal {
        fn can_prompt(&self) -> bool {
            self.terminal
        }
        fn read_line(&mut self) -> std::io::Result<Option<String>> {
            self.reads += 1;
            Ok(self.answer.map(|answer| format!("{answer}\n")))
        }
    }

    fn run(
        script: &mut ScriptedTerminal,
        protected: bool,
        dangerous: bool,
        globals: &Globals,
    ) -> (Result<()>, Captured) {
        let (output, captured) = Output::captured(OutputOptions::default());
        let summary = "discard 12 dead letters".to_owned();
        let change = GuardedChange { verb: "dlq discard", summary, dangerous };
        let result = confirm_on(script, &change, globals, &target(Path::new("/data"), protected), &output);
        (result, captured)
    }

    fn flags(yes: bool, confirm: Option<&str>) -> Globals {
        Globals { yes, confirm: confirm.map(str::to_owned), ..Globals::default() }
    }

    #[test]
    fn any_answer_but_yes_declines() {
        for (answer, confirmed) in
            [(Some("y"), true), (Some("YES"), true), (Some(""), false), (Some("no"), false), (None, false)]
        {
            let mut script = ScriptedTerminal { terminal: true, answer, reads: 0 };
            let (result, captured) = run(&mut script, false, true, &Globals::default());
            assert_eq!(result.is_ok(), confirmed, "{answer:?}");
            assert_eq!(captured.stderr(), "This will discard 12 dead letters. Continue? [y/N] ");
        }
    }

    #[test]
    fn without_a_terminal_the_change_is_refused_and_nothing_is_read() {
        for protected in [false, true] {
            let mut script = ScriptedTerminal { terminal: false, answer: Some("y"), reads: 0 };
            let (result, _) = run(&mut script, protected, true, &Globals::default());
            assert_eq!((result.unwrap_err().exit_code(), script.reads), (8, 0));
        }
    }

    #[test]
    fn a_protected_profile_requires_its_environments_name() {
        let mut script = ScriptedTerminal { terminal: false, answer: None, reads: 0 };
        assert!(run(&mut script, true, true, &flags(true, None)).0.is_err());
        assert!(run(&mut script, true, true, &flags(true, Some("prod"))).0.is_ok());
        assert!(run(&mut script, true, false, &flags(true, None)).0.is_ok());
        let mut typed = ScriptedTerminal { terminal: true, answer: Some("y"), reads: 0 };
        assert!(run(&mut typed, true, true, &Globals::default()).0.is_err());
        typed.answer = Some("prod");
        assert!(run(&mut typed, true, true, &Globals::default()).0.is_ok());
    }

    #[test]
    fn a_wrong_confirm_flag_is_refused_even_with_yes() {
        let mut script = ScriptedTerminal { terminal: true, answer: Some("y"), reads: 0 };
        let (result, _) = run(&mut script, false, false, &flags(true, Some("prod")));
        assert_eq!((result.unwrap_err().exit_code(), script.reads), (8, 0));
    }
}
