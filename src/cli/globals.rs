//! The flags that every command takes.

use std::path::PathBuf;

use clap_complete::ArgValueCandidates;

use super::complete;
use super::output::{ColorChoice, Format, OutputFlags};
use crate::settings::Flags;
use mfctl_core::domain::EnvName;

/// Global flags. `settings` reads `MFCTL_…` variables in place of the first four, so that each value keeps its origin;
/// `--yes` and `--confirm` have no variable.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The profile to work on [env: MFCTL_PROFILE]
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(complete::profiles))]
    pub profile: Option<String>,
    /// Read this file instead of the user's own [env: MFCTL_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder [env: MFCTL_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Refuse to run unless the profile's environment is this one [env: MFCTL_ENV]
    #[arg(long, global = true, value_name = "ENV")]
    pub env: Option<EnvName>,
    /// What to print on stdout [env: MFCTL_OUTPUT] [default: table]
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,
    /// Print more detail on stderr; repeat for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print only warnings and errors on stderr
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// When to use colour [env: MFCTL_COLOR] [default: auto]
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub color: Option<ColorChoice>,
    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Answer yes to the questions of an unprotected profile
    #[arg(long, global = true)]
    pub yes: bool,
    /// With --yes: the environment's name, which a protected profile asks for
    #[arg(long, global = true, value_name = "ENV")]
    pub confirm: Option<String>,
}

impl Globals {
    /// The flags that select and override settings.
    #[must_use]
    pub fn setting_flags(&self) -> Flags {
        Flags {
            profile: self.profile.clone(),
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            env: self.env.clone(),
        }
    }

    /// The flags that control the output.
    #[must_use]
    pub const fn output_flags(&self) -> OutputFlags {
        OutputFlags {
            format: self.output,
            color: self.color,
            quiet: self.quiet,
            verbose: self.verbose,
            no_progress: self.no_progress,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct GlobalsParser {
        #[command(flatten)]
        globals: Globals,
    }

    #[test]
    fn flags_are_parsed_and_quiet_excludes_verbose() {
        let parsed = GlobalsParser::try_parse_from(["mfctl", "-o", "jsonl", "--env", "dev", "-vv"]).unwrap();
        assert_eq!((parsed.globals.output, parsed.globals.verbose), (Some(Format::Jsonl), 2));
        assert!(GlobalsParser::try_parse_from(["mfctl", "-q", "-v"]).is_err());
        assert!(GlobalsParser::try_parse_from(["mfctl", "--env", "No Such"]).is_err());
    }
}
