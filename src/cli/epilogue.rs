//! The texts below the options in `--help`: written in lines of the source, wrapped once, for the width of the terminal.

use clap::Command;
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

/// The widest help, in character cells.
const MAX_WIDTH: usize = 110;
/// The width of help that goes to no terminal.
const DEFAULT_WIDTH: usize = 100;
/// The narrowest that a description becomes beside its example; with less room, it is below it.
const MIN_DESCRIPTION: usize = 24;
/// The indentation of what continues an example.
const CONTINUATION: &str = "      ";

/// The width of help: that of the terminal on one of the standard streams, or `COLUMNS`.
#[must_use]
pub(super) fn help_width() -> usize {
    let sizes = [tcgetwinsize(rustix::stdio::stdout()), tcgetwinsize(rustix::stdio::stderr())];
    let sizes = sizes.into_iter().chain([tcgetwinsize(rustix::stdio::stdin())]);
    let of_terminal = sizes.flatten().map(|size| usize::from(size.ws_col)).find(|columns| *columns > 0);
    let of_variable = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    of_terminal.or_else(of_variable).unwrap_or(DEFAULT_WIDTH).min(MAX_WIDTH)
}

/// The command with help for this width, in which the examples of every epilogue are wrapped so that no continuation
/// looks like a command of its own: a description is continued below its beginning.
#[must_use]
pub(super) fn wrap_for_width(command: Command, width: usize) -> Command {
    wrap_epilogues(command, width).term_width(width)
}

fn wrap_epilogues(mut command: Command, width: usize) -> Command {
    if let Some(text) = command.get_after_help().map(|text| wrap_examples(&text.to_string(), width)) {
        command = command.after_help(text);
    }
    command.mut_subcommands(|subcommand| wrap_epilogues(subcommand, width))
}

fn wrap_examples(text: &str, width: usize) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("  ") {
        Some(example) if !example.starts_with(' ') => wrap_example(example, width),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An example, a command and perhaps two spaces or more and what it does, in indented lines.
fn wrap_example(example: &str, width: usize) -> String {
    let (command, rest) = example.split_once("  ").unwrap_or((example, ""));
    let column = 2 + example.width() - rest.trim_start().width();
    let mut lines = wrap_words(command, width.saturating_sub(2), width.saturating_sub(CONTINUATION.len()));
    let description = rest.trim_start();
    let beside = width.saturating_sub(column);
    let lines_beside = if lines.len() == 1 && beside >= MIN_DESCRIPTION.min(description.width()) {
        wrap_words(description, beside, beside)
    } else {
        Vec::new()
    };
    if let Some((first, others)) = lines_beside.split_first() {
        lines[0].push_str(&format!("{}{first}", " ".repeat(column - 2 - command.width())));
        let below = others.iter().map(|line| format!("{}{line}", " ".repeat(column)));
        return [format!("  {}", lines[0])].into_iter().chain(below).collect::<Vec<_>>().join("\n");
    }
    let room = width.saturating_sub(CONTINUATION.len());
    lines.extend(wrap_words(description, room, room));
    let indented = lines.iter().enumerate().map(|(number, line)| {
        let indentation = if number == 0 { "  " } else { CONTINUATION };
        format!("{indentation}{line}")
    });
    indented.collect::<Vec<_>>().join("\n")
}

/// Breaks a text at spaces into lines, the first of at most `first` and the others of at most `others` character cells.
/// A longer word has a line of its own.
fn wrap_words(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let room = if lines.len() <= 1 { first } else { others };
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The command with every epilogue's paragraphs as one line each, which clap wraps: wrapping lines that were broken before
/// leaves ragged halves.
#[must_use]
pub(super) fn unwrap_epilogues(mut command: Command) -> Command {
    if let Some(text) = command.get_after_help().map(|text| unwrap_paragraphs(&text.to_string())) {
        command = command.after_help(text);
    }
    command.mut_subcommands(unwrap_epilogues)
}

/// Joins the lines of each paragraph. Indented lines (examples) stay as they are.
fn unwrap_paragraphs(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut open = false;
    for line in text.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !joined.is_empty() {
            joined.push(if open && is_prose { ' ' } else { '\n' });
        }
        joined.push_str(line);
        open = is_prose;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_one_line_and_examples_stay() {
        let text =
            "Hidden files\nare included.\n\nExamples:\n  mfctl a\n  mfctl b\n\nExit codes: 0 done,\n2 wrong usage";
        let joined =
            "Hidden files are included.\n\nExamples:\n  mfctl a\n  mfctl b\n\nExit codes: 0 done, 2 wrong usage";
        assert_eq!(unwrap_paragraphs(text), joined);
    }

    #[test]
    fn a_line_that_ends_with_a_colon_does_not_end_its_paragraph() {
        let text = "What is left to do:\nrecords that wait.\n\nExamples:\n  mfctl a";
        assert_eq!(unwrap_paragraphs(text), "What is left to do: records that wait.\n\nExamples:\n  mfctl a");
    }

    #[test]
    fn the_description_of_an_example_is_continued_below_its_beginning() {
        let text = "Examples:\n  mfctl top --once  one snapshot of all that there is\n  \
                    mfctl a-very-long-command --with --many --options  what it does\n  [section]\n    key = 1";
        assert_eq!(
            wrap_examples(text, 46),
            "Examples:\n  mfctl top --once  one snapshot of all that\n                    there is\n  \
             mfctl a-very-long-command --with --many\n      --options\n      what it does\n  [section]\n    key = 1"
        );
        assert_eq!(wrap_example("mfctl a  b", 80), "  mfctl a  b");
        assert_eq!(
            wrap_example("mfctl abcdefghijklmnopqrstuv  a short description", 40),
            "  mfctl abcdefghijklmnopqrstuv\n      a short description"
        );
    }

    #[test]
    fn every_example_is_one_line_with_two_spaces_before_it_at_every_width() {
        fn check(raw: &Command, wrapped: &Command, width: usize) {
            let examples = |text: &str| {
                let is_example = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
                text.lines().filter(is_example).count()
            };
            let name = raw.get_name();
            let epilogue = |command: &Command| command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let help = wrapped.clone().color(clap::ColorChoice::Never).render_long_help().to_string();
            let shown = epilogue(wrapped);
            assert_eq!(examples(&shown), examples(&epilogue(raw)), "{name} at {width}:\n{shown}");
            for line in shown.lines().filter(|line| line.starts_with("  ")) {
                assert!(help.lines().any(|shown| shown.trim_end() == line.trim_end()), "{name} at {width}: {line}");
            }
            for sub in raw.get_subcommands() {
                check(sub, wrapped.find_subcommand(sub.get_name()).unwrap(), width);
            }
        }
        for width in [60, 80, 100, 110] {
            let mut wrapped = wrap_for_width(crate::cli::definition(), width);
            wrapped.build();
            let mut raw = crate::cli::definition();
            raw.build();
            check(&raw, &wrapped, width);
        }
    }

    /// No line of prose in any help is followed by one that would have fitted behind it.
    #[test]
    fn help_is_wrapped_once_at_every_width() {
        fn check(command: &Command, width: usize) {
            let help = command.clone().color(clap::ColorChoice::Never).render_long_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
                let first_word = pair[1].split(' ').next().unwrap_or_default();
                let ragged = prose(pair[0]) && prose(pair[1]) && pair[0].len() + 1 + first_word.len() <= width;
                assert!(!ragged, "{} at {width}:\n{}\n{}", command.get_name(), pair[0], pair[1]);
            }
            command.get_subcommands().for_each(|sub| check(sub, width));
        }
        for width in [60, 80, 100, 110] {
            let mut root = wrap_for_width(crate::cli::definition(), width);
            root.build();
            check(&root, width);
        }
    }
}
