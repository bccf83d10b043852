//! Output options: format, colour and verbosity, from the flags, the environment and the kind of the streams.

use std::collections::BTreeMap;
use std::io::IsTerminal;

/// Format of the results on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: aligned columns.
    #[default]
    Table,
    /// For people: aligned columns, more of them in the lists that have more.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON object a line; for a list, one line an item.
    Jsonl,
    /// One YAML document.
    Yaml,
    /// Only ids, one a line.
    Name,
}

impl Format {
    /// Whether it is for people.
    #[must_use]
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Whether a failure's last line on stderr is JSON.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` or `TERM=dumb` is set; also elsewhere if `CLICOLOR_FORCE` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Kind of stdout or stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamKind {
    /// Whether it is a terminal.
    pub terminal: bool,
    /// Whether to write colour to it.
    pub color: bool,
}

/// Effective options of the output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputOptions {
    /// Format of the results on stdout.
    pub format: Format,
    /// Kind of stdout.
    pub stdout: StreamKind,
    /// Kind of stderr.
    pub stderr: StreamKind,
    /// Columns of the terminal on stdout; `None` when stdout is no terminal.
    pub width: Option<u16>,
    /// Whether stderr carries only errors and warnings.
    pub quiet: bool,
    /// Number of `-v` flags.
    pub verbose: u8,
    /// Whether progress is shown.
    pub progress: bool,
}

/// Flags that control the output.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputFlags {
    /// `-o`.
    pub format: Option<Format>,
    /// `--color`.
    pub color: Option<ColorChoice>,
    /// `-q`.
    pub quiet: bool,
    /// Number of `-v` flags.
    pub verbose: u8,
    /// `--no-progress`.
    pub no_progress: bool,
}

impl OutputOptions {
    /// Options from the flags, the environment and the streams of this process.
    ///
    /// `MFCTL_OUTPUT` and `MFCTL_COLOR` replace flags that were not given.
    ///
    /// # Errors
    /// A message that names the variable whose value is not one of its choices.
    pub fn resolve(flags: OutputFlags, env: &BTreeMap<String, String>) -> Result<Self, String> {
        let format = match flags.format {
            Some(format) => format,
            None => choice(env, "MFCTL_OUTPUT")?.unwrap_or_default(),
        };
        let color = match flags.color {
            Some(color) => color,
            None => choice(env, "MFCTL_COLOR")?.unwrap_or_default(),
        };
        let out = std::io::stdout().is_terminal();
        let err = std::io::stderr().is_terminal();
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

/// The choice that a variable names; `None` where the variable is absent or empty.
fn choice<T: clap::ValueEnum>(env: &BTreeMap<String, String>, name: &str) -> Result<Option<T>, String> {
    let Some(text) = env.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    T::from_str(text, true).map(Some).map_err(|_| {
        let choices: Vec<String> =
            T::value_variants().iter().filter_map(T::to_possible_value).map(|v| v.get_name().to_owned()).collect();
        format!("{name}={text:?} is not one of {}", choices.join(", "))
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
        assert_eq!(wrong.unwrap_err(), "MFCTL_OUTPUT=\"xml\" is not one of table, wide, json, jsonl, yaml, name");
    }
}
