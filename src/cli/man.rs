//! `mfctl man`: the manual pages, generated from the command definitions.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Command};
use clap_mangen::Man;

use super::context::Context;
use super::failure::{Failure, Result};
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl man`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl man | man -l -              read mfctl(1)
  mfctl man dlq redrive | man -l -  read the page of one command
  mfctl man --dir man1              write every page into a folder

Exit codes: 0, 2 no such command, 6 the folder cannot be written")]
pub struct Args {
    /// The command whose page to print; none for mfctl itself
    command: Vec<String>,
    /// Write every page into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints one manual page, or writes them all into a folder.
///
/// # Errors
/// `Usage` for an unknown command; `Invalid` when the folder cannot be written.
pub fn run(args: &Args, cx: &Context) -> Result<()> {
    let mut root = super::definition();
    root.build();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
        return write_pages(&root, dir);
    }
    let mut command = &root;
    for name in &args.command {
        command = command
            .get_subcommands()
            .find(|sub| sub.get_name() == name)
            .ok_or_else(|| Failure::usage(format!("there is no command {}", args.command.join(" "))))?;
    }
    cx.out().raw(&render_page(command)?)
}

fn write_pages(command: &Command, dir: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, render_page(command)?).map_err(|error| unwritable(&path, &error))?;
    for subcommand in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write_pages(subcommand, dir)?;
    }
    Ok(())
}

fn render_page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::unexpected("cannot render the page").because(&error))?;
    Ok(page)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::invalid(format!("cannot write {}", path.shown())).because(error)
}
