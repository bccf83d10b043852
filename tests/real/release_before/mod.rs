//! Processes of the release before beside those of this one. `MFCTL_RELEASE_BEFORE` names its program.

mod cluster;
mod embedded;
mod fleet;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{CommandOutput, Site, write_texts};

/// A worker with this option makes a dead letter of each picture of [`write_files`]; one without it reads them.
const REFUSES_PICTURES: [&str; 2] = ["--max-pixels", "16000000"];

/// The program that runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    Before,
    This,
}

impl Release {
    fn command(self, site: &Site, words: &[&str]) -> Command {
        match self {
            Self::This => site.command(words),
            Self::Before => {
                let mut command = site.command_of(&program_before(), words);
                command.env("MFCTL_DATA_DIR", site.data());
                command
            }
        }
    }

    fn run(self, site: &Site, words: &[&str]) -> CommandOutput {
        CommandOutput::run(self.command(site, words))
    }

    /// Runs with `-o json`; fails unless the exit code is one of `codes`.
    fn json(self, site: &Site, words: &[&str], codes: &[i32]) -> serde_json::Value {
        let ran = self.run(site, &[words, &["-o", "json"]].concat());
        assert!(codes.contains(&ran.code), "{self:?}: wanted exit code {codes:?}: {ran}");
        ran.json()
    }
}

fn program_before() -> PathBuf {
    let program = std::env::var("MFCTL_RELEASE_BEFORE");
    program.unwrap_or_else(|_| panic!("MFCTL_RELEASE_BEFORE is not set: run this through `make test-upgrade`")).into()
}

/// Writes small texts and, of these, some pictures, each with bytes of its own.
fn write_files(dir: &Path, texts: usize, pictures: usize, rng: &mut fastrand::Rng) {
    write_texts(dir, texts, rng);
    for number in 0..pictures {
        let width = 4_000 + u32::try_from(number).unwrap();
        let shade = image::Luma([rng.u8(..)]);
        let picture = image::GrayImage::from_pixel(width, 4_100 + rng.u32(..1_000), shade);
        picture.save(dir.join(format!("picture-{number}.png"))).unwrap();
    }
}
