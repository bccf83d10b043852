//! The texts below the options in `--help`: written in lines of the source, wrapped once, for the width of the terminal.

use clap::Command;

/// The command with every epilogue's paragraphs as one line each, which clap wraps: wrapping lines that were broken before
/// leaves ragged halves.
#[must_use]
pub(super) fn unwrap_epilogues(mut command: Command) -> Command {
    if let Some(text) = command.get_after_help().map(|text| unwrap_paragraphs(&text.to_string())) {
        command = command.after_help(text);
    }
    command.mut_subcommands(unwrap_epilogues)
}

/// Joins the lines of each paragraph. Indented lines (examples) and the line that announces them stay as they are.
fn unwrap_paragraphs(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut open = false;
    for line in text.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !joined.is_empty() {
            joined.push(if open && is_prose { ' ' } else { '\n' });
        }
        joined.push_str(line);
        open = is_prose && !line.ends_with(':');
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

    /// No line of prose in any help is followed by one that would have fitted behind it.
    #[test]
    fn help_is_wrapped_once_at_every_width() {
        fn check(command: &Command, width: usize) {
            let help = command.clone().color(clap::ColorChoice::Never).render_long_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            for pair in lines.windows(2) {
                let prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
                let first_word = pair[1].split(' ').next().unwrap_or_default();
                let ragged = prose(pair[0]) && prose(pair[1]) && pair[0].len() + 1 + first_word.len() <= width;
                assert!(!ragged, "{} at {width}:\n{}\n{}", command.get_name(), pair[0], pair[1]);
            }
            command.get_subcommands().for_each(|sub| check(sub, width));
        }
        for width in [60, 80, 100, 110] {
            let mut root = crate::cli::definition().term_width(width);
            root.build();
            check(&root, width);
        }
    }
}
