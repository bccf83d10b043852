//! What stands between an operator and a change that cannot be taken back.
//!
//! A prompt needs a terminal on stdin and stderr and defaults to No. Without one the verb ends at once with exit 8 and
//! reads nothing, so that no pipeline ever answers by accident. The answers `--yes` and `--confirm` come from flags alone.

use std::io::IsTerminal;

use super::failure::{Failure, FailureKind, Result};
use super::globals::Globals;
use super::output::{Output, escape};
use super::pin;
use super::target::Target;

/// A change that wants a yes.
#[derive(Debug, Clone)]
pub struct Action {
    /// The verb as typed, e.g. `dlq discard`.
    pub verb: &'static str,
    /// What will happen, with counts: `discard 12 dead letters of ingest.raw.dlq`.
    pub summary: String,
    /// Whether a protected profile wants its environment's name: discard, trim, prune, restore, rollback, rotate,
    /// takedown and bulk reprocess.
    pub dangerous: bool,
}

/// The operator's terminal, as far as asking goes.
pub trait Terminal {
    /// Whether somebody can be asked: a terminal on stdin and stderr.
    fn can_ask(&self) -> bool;

    /// Reads one line. None at the end of input.
    ///
    /// # Errors
    /// Whatever reading failed with.
    fn read_line(&mut self) -> std::io::Result<Option<String>>;
}

/// This process's stdin and stderr.
#[derive(Debug, Default)]
pub struct Console;

impl Terminal for Console {
    fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    fn read_line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line)?;
        Ok((read > 0).then_some(line))
    }
}

/// Asks, unless the flags have answered. Call it before signals are handled, so that Ctrl-C ends the prompt.
///
/// # Errors
/// Exit 8 when the answer is not yes, nobody can be asked, or the data folder is pinned for something else.
pub fn confirm(action: &Action, globals: &Globals, target: &Target, output: &Output) -> Result<()> {
    pin::verify(target)?;
    confirm_on(&mut Console, action, globals, target, output)
}

/// [`confirm`] for the one verb whose purpose is to change the pin.
///
/// # Errors
/// Exit 8 when the answer is not yes, or nobody can be asked.
pub fn confirm_unpinned(action: &Action, globals: &Globals, target: &Target, output: &Output) -> Result<()> {
    confirm_on(&mut Console, action, globals, target, output)
}

/// [`confirm`] on a given terminal.
///
/// # Errors
/// As [`confirm`].
pub fn confirm_on(
    terminal: &mut dyn Terminal,
    action: &Action,
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
    let wants_name = target.protected && action.dangerous;
    if globals.yes && (!wants_name || globals.confirm.is_some()) {
        return Ok(());
    }
    if !terminal.can_ask() {
        return Err(nobody_to_ask(action, environment, wants_name));
    }
    if wants_name { ask_for_name(terminal, action, environment, output) } else { ask_for_yes(terminal, action, output) }
}

fn nobody_to_ask(action: &Action, environment: &str, wants_name: bool) -> Failure {
    let flags = if wants_name { format!("--yes --confirm {environment}") } else { "--yes".to_owned() };
    let refusal = Failure::refused(format!("{} wants a yes and there is no terminal to ask on", action.verb));
    refusal.hint(format!("it would {}; if that is what you want, add {flags}", action.summary))
}

fn ask_for_yes(terminal: &mut dyn Terminal, action: &Action, output: &Output) -> Result<()> {
    output.ask(&format!("This will {}. Continue? [y/N] ", escape(&action.summary)));
    let answer = answer(terminal)?;
    if answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes") { Ok(()) } else { Err(declined(action)) }
}

fn ask_for_name(terminal: &mut dyn Terminal, action: &Action, environment: &str, output: &Output) -> Result<()> {
    output.ask(&format!(
        "This will {} in {environment}, which is protected.\nType the environment's name to continue: ",
        escape(&action.summary)
    ));
    if answer(terminal)? == environment { Ok(()) } else { Err(declined(action)) }
}

fn answer(terminal: &mut dyn Terminal) -> Result<String> {
    let line = terminal
        .read_line()
        .map_err(|error| Failure::new(FailureKind::Refused, "cannot read the answer").because(&error))?;
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn declined(action: &Action) -> Failure {
    Failure::refused(format!("{} was not confirmed; nothing was changed", action.verb))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::output::{Captured, OutputOptions};
    use super::super::target::tests::target;
    use super::*;

    struct Script {
        terminal: bool,
        answer: Option<&'static str>,
        reads: usize,
    }

    impl Terminal for Script {
        fn can_ask(&self) -> bool {
            self.terminal
        }
        fn read_line(&mut self) -> std::io::Result<Option<String>> {
            self.reads += 1;
            Ok(self.answer.map(|answer| format!("{answer}\n")))
        }
    }

    fn run(script: &mut Script, protected: bool, dangerous: bool, globals: &Globals) -> (Result<()>, Captured) {
        let (output, captured) = Output::captured(OutputOptions::default());
        let summary = "discard 12 dead letters".to_owned();
        let action = Action { verb: "dlq discard", summary, dangerous };
        let result = confirm_on(script, &action, globals, &target(Path::new("/data"), protected), &output);
        (result, captured)
    }

    fn flags(yes: bool, confirm: Option<&str>) -> Globals {
        Globals { yes, confirm: confirm.map(str::to_owned), ..Globals::default() }
    }

    #[test]
    fn the_answer_is_no_unless_it_is_yes() {
        for (answer, goes) in
            [(Some("y"), true), (Some("YES"), true), (Some(""), false), (Some("no"), false), (None, false)]
        {
            let mut script = Script { terminal: true, answer, reads: 0 };
            let (result, captured) = run(&mut script, false, true, &Globals::default());
            assert_eq!(result.is_ok(), goes, "{answer:?}");
            assert_eq!(captured.stderr(), "This will discard 12 dead letters. Continue? [y/N] ");
        }
    }

    #[test]
    fn without_a_terminal_it_is_refused_at_once_and_nothing_is_read() {
        for protected in [false, true] {
            let mut script = Script { terminal: false, answer: Some("y"), reads: 0 };
            let (result, _) = run(&mut script, protected, true, &Globals::default());
            assert_eq!((result.unwrap_err().exit_code(), script.reads), (8, 0));
        }
    }

    #[test]
    fn a_protected_profile_wants_its_environment_named() {
        let mut script = Script { terminal: false, answer: None, reads: 0 };
        assert!(run(&mut script, true, true, &flags(true, None)).0.is_err());
        assert!(run(&mut script, true, true, &flags(true, Some("prod"))).0.is_ok());
        assert!(run(&mut script, true, false, &flags(true, None)).0.is_ok());
        let mut typed = Script { terminal: true, answer: Some("y"), reads: 0 };
        assert!(run(&mut typed, true, true, &Globals::default()).0.is_err());
        typed.answer = Some("prod");
        assert!(run(&mut typed, true, true, &Globals::default()).0.is_ok());
    }

    #[test]
    fn a_wrong_confirm_is_refused_whatever_else_is_said() {
        let mut script = Script { terminal: true, answer: Some("y"), reads: 0 };
        let (result, _) = run(&mut script, false, false, &flags(true, Some("prod")));
        assert_eq!((result.unwrap_err().exit_code(), script.reads), (8, 0));
    }
}
