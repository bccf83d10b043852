//! `mfctl man`: the manual pages, made from the command line itself.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use super::context::Context;
use super::failure::{Failure, Result};

/// Arguments of `mfctl man`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl man | man -l -              read mfctl(1)
  mfctl man dlq redrive | man -l -  read one verb's page
  mfctl man --dir man1              write every page into a folder

Exit codes: 0, 2 no such verb, 6 the folder cannot be written")]
pub struct Args {
    /// The verb whose page to print; none for mfctl itself
    verb: Vec<String>,
    /// Write every page into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    dir: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub fn run(args: &Args, cx: &Context) -> Result<()> {
    let mut root = Cli::command();
    root.build();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
        return write_all(&root, dir);
    }
    let mut command = &root;
    for verb in &args.verb {
        command = command
            .get_subcommands()
            .find(|sub| sub.get_name() == verb)
            .ok_or_else(|| Failure::usage(format!("there is no verb {}", args.verb.join(" "))))?;
    }
    cx.out().raw(&page(command)?)
}

fn write_all(command: &Command, dir: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command)?).map_err(|error| unwritable(&path, &error))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        write_all(verb, dir)?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::unexpected("cannot write the page").because(&error))?;
    Ok(page)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::invalid(format!("cannot write {}", path.display())).because(error)
}
