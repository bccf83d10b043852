//! How to print: the format, colour and how much to say, from the flags, the environment and what the streams are.

use std::collections::BTreeMap;
use std::io::IsTerminal;

/// What stdout carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line: of a list, one line for each item.
    Jsonl,
    /// One YAML document.
    Yaml,
    /// Ids alone, one a line.
    Name,
}

impl Format {
    /// Whether a failure's last line on stderr is JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` say no; `CLICOLOR_FORCE` says yes.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What one of the streams is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamKind {
    /// Whether a terminal is at its end.
    pub terminal: bool,
    /// Whether to colour what goes there.
    pub color: bool,
}

/// Everything that decides how something is printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputOptions {
    /// What stdout carries.
    pub format: Format,
    /// stdout.
    pub stdout: StreamKind,
    /// stderr.
    pub stderr: StreamKind,
    /// Columns of stdout's terminal, if it is one.
    pub width: Option<u16>,
    /// Errors and warnings alone on stderr.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether progress is shown at all.
    pub progress: bool,
}

/// The flags that decide how something is printed.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputFlags {
    /// `-o`.
    pub format: Option<Format>,
    /// `--color`.
    pub color: Option<ColorChoice>,
    /// `-q`.
    pub quiet: bool,
    /// `-v`, counted.
    pub verbose: u8,
    /// `--no-progress`.
    pub no_progress: bool,
}

impl OutputOptions {
    /// Looks at the flags, the environment and this process's streams.
    ///
    /// `MFCTL_OUTPUT` and `MFCTL_COLOR` stand for flags that were not given.
    ///
    /// # Errors
    /// The sentence that says which variable has a value that is none of its choices.
    pub fn resolve(flags: OutputFlags, env: &BTreeMap<String, String>) -> Result<Self, String> {
        let format = match flags.format {
            Some(format) => format,
            None => choice(env, "MFCTL_OUTPUT")?.unwrap_or_default(),
        };
        let color = match flags.color {
            Some(color) => color,
            None => choice(env, "MFCTL_COLOR")?.unwrap_or_default(),
        };
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Ok(Self {
            format,
            stdout: StreamKind { terminal: out, color: colored(color, out, env) },
            stderr: StreamKind { terminal: err, color: colored(color, err, env) },
            width: out.then(|| terminal_width(env)).flatten(),
            quiet: flags.quiet,
            verbose: flags.verbose,
            progress: !flags.no_progress && !flags.quiet,
        })
    }
}

/// A variable whose value is one of an enum's choices; an empty one is as good as none.
fn choice<T: clap::ValueEnum>(env: &BTreeMap<String, String>, name: &str) -> Result<Option<T>, String> {
    let Some(text) = env.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    T::from_str(text, true).map(Some).map_err(|_| {
        let choices: Vec<String> =
            T::value_variants().iter().filter_map(T::to_possible_value).map(|v| v.get_name().to_owned()).collect();
        format!("{name}={text:?} is none of {}", choices.join(", "))
    })
}

fn colored(choice: ColorChoice, terminal: bool, env: &BTreeMap<String, String>) -> bool {
    let set = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR") => false,
        ColorChoice::Auto if env.get("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") => true,
        ColorChoice::Auto => terminal && env.get("TERM").is_none_or(|term| term != "dumb"),
    }
}

fn terminal_width(env: &BTreeMap<String, String>) -> Option<u16> {
    let given = env.get("COLUMNS").and_then(|columns| columns.parse().ok());
    let width = given.or_else(|| crossterm::terminal::size().ok().map(|(columns, _)| columns));
    width.filter(|columns| *columns >= 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn colour_follows_the_flag_then_the_conventions() {
        assert!(colored(ColorChoice::Auto, true, &env(&[])));
        assert!(!colored(ColorChoice::Auto, false, &env(&[])));
        assert!(!colored(ColorChoice::Auto, true, &env(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")])));
        assert!(colored(ColorChoice::Auto, false, &env(&[("CLICOLOR_FORCE", "1")])));
        assert!(!colored(ColorChoice::Auto, true, &env(&[("TERM", "dumb")])));
        assert!(colored(ColorChoice::Always, false, &env(&[("NO_COLOR", "1")])));
    }

    #[test]
    fn the_format_comes_from_the_flag_then_the_environment() {
        let json = env(&[("MFCTL_OUTPUT", "json")]);
        assert_eq!(OutputOptions::resolve(OutputFlags::default(), &json).unwrap().format, Format::Json);
        let flag = OutputFlags { format: Some(Format::Name), ..OutputFlags::default() };
        assert_eq!(OutputOptions::resolve(flag, &json).unwrap().format, Format::Name);
        let wrong = OutputOptions::resolve(OutputFlags::default(), &env(&[("MFCTL_OUTPUT", "xml")]));
        assert_eq!(wrong.unwrap_err(), "MFCTL_OUTPUT=\"xml\" is none of table, json, jsonl, yaml, name");
    }
}
