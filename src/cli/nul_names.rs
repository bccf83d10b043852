//! The flag `-0` of verbs that print names.

use clap::Args as ClapArgs;

use super::failure::Result;
use super::output::Output;

/// Whether names end with a NUL.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub struct NulNames {
    /// With -o name: end each name with a NUL instead of a line break, for xargs -0
    #[arg(short = '0', long = "null")]
    null: bool,
}

impl NulNames {
    /// Tells the output.
    ///
    /// # Errors
    /// `Usage` where the format is not `-o name`.
    pub fn apply(self, out: &Output) -> Result<()> {
        if self.null { out.end_names_with_nul() } else { Ok(()) }
    }
}
