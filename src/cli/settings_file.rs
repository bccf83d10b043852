//! The steps of every verb that changes a configuration file: hold the file, edit its text, load the result, confirm a
//! lowered protection, replace the file.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs, ValueHint};
use similar::TextDiff;

use super::context::Context;
use super::failure::{Failure, Result};
use super::guard::{self, GuardedChange};
use super::held_file::HeldFile;
use super::output::{TextPage, Tone};
use crate::ops::target::Target;
use crate::settings::edit::{FileToChange, LoweredProtection, lowered_protections, shown_line, without_secrets};
use crate::settings::{Layers, SettingKey, ValueKind};
use mfctl_core::domain::path::ShownPath as _;

/// The options of every verb that changes a configuration file.
#[derive(Debug, Clone, ClapArgs)]
pub struct FileOptions {
    /// Change this file instead of the one in effect: that of --config or MFCTL_CONFIG, else your own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Print the difference and write nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    pub dry_run: bool,
}

/// A change of a configuration file that was made, or would be.
pub struct ChangedFile {
    /// The file.
    pub file: FileToChange,
    /// Whether the file is new.
    pub created: bool,
    /// Its text before; empty if there was none.
    pub before: String,
    /// Its text after.
    pub after: String,
    /// The layers with the text after.
    pub layers: Layers,
}

impl ChangedFile {
    /// Whether the text changed.
    pub fn is_changed(&self) -> bool {
        self.before != self.after
    }

    /// The difference as a unified diff; `None` if there is none.
    pub fn diff(&self) -> Option<String> {
        if !self.is_changed() {
            return None;
        }
        let path = self.file.path.shown().to_string();
        let old = if self.created { "/dev/null" } else { path.as_str() };
        let (before, after) = (without_secrets(&self.before), without_secrets(&self.after));
        let diff = TextDiff::from_lines(&before, &after);
        let diff = diff.unified_diff().context_radius(3).header(old, &path).to_string();
        Some(diff.lines().map(|line| shown_line(line) + "\n").collect())
    }

    /// What a first line says of the file.
    pub fn headline(&self, dry_run: bool) -> &'static str {
        match (self.is_changed(), dry_run, self.created) {
            (false, ..) => "unchanged",
            (true, true, false) => "would change",
            (true, true, true) => "would create",
            (true, false, false) => "changed",
            (true, false, true) => "created",
        }
    }
}

/// Edits the text of a file and replaces the file, unless nothing changes or it is a dry run.
///
/// # Errors
/// Those of `edit`; exit 6 for a result that could not be loaded, which is not written; exit 7 for a file that another process
/// changes; exit 8 for a file that others can write, and for a lowered protection that is not confirmed.
pub fn change(
    cx: &Context,
    verb: &'static str,
    file: &FileToChange,
    dry_run: bool,
    edit: impl Fn(&str) -> Result<String>,
) -> Result<ChangedFile> {
    let mut confirmed: Vec<LoweredProtection> = Vec::new();
    loop {
        let held = HeldFile::open(&file.path, cx.sources().uid, !dry_run)?;
        let before = held.text().to_owned();
        file.check_syntax(&before)?;
        let after = edit(&before)?;
        // A file that cannot be loaded protects nothing.
        let known = file.load_before(cx.sources(), &before).ok();
        let layers = file.load(cx.sources(), &after, known.as_ref()).map_err(|error| {
            Failure::from(error)
                .while_doing(format!("{} was not written, as it could not be loaded", file.path.shown()))
        })?;
        let created = !held.exists();
        let changed = ChangedFile { file: file.clone(), created, before, after, layers };
        if !changed.is_changed() {
            return Ok(changed);
        }
        let lowered = known
            .as_ref()
            .map_or_else(Vec::new, |known| lowered_protections(&known.protections(), &changed.layers.protections()));
        if dry_run {
            for LoweredProtection { summary, environment, .. } in &lowered {
                cx.out().note(format!("this would {summary}, and needs --yes --confirm {environment}"));
            }
            return Ok(changed);
        }
        if let (Some(known), true) = (&known, lowered != confirmed) {
            // A prompt takes long: another process may change the file meanwhile.
            drop(held);
            confirm(cx, verb, known, &lowered)?;
            confirmed = lowered;
            continue;
        }
        held.replace(&changed.after)?;
        return Ok(changed);
    }
}

fn confirm(cx: &Context, verb: &'static str, layers: &Layers, lowered: &[LoweredProtection]) -> Result<()> {
    for LoweredProtection { profile, summary, .. } in lowered {
        let target = Target::of(&layers.settings_of(profile)?);
        let change = GuardedChange { verb, summary: summary.clone(), dangerous: true };
        guard::confirm_unpinned(&change, cx.globals(), &target, cx.out())?;
    }
    Ok(())
}

/// A relative path starts at the working directory on a command line, but at the file's folder in a file.
pub fn path_value(key: &SettingKey, given: &str, file: &FileToChange, cx: &Context) -> String {
    let is_relative = key.kind == ValueKind::Path && !given.starts_with(['/', '~']) && !given.is_empty();
    let cwd = &cx.sources().cwd;
    match is_relative && file.path.parent() != Some(cwd.as_path()) {
        true => cx.sources().absolute(given.as_ref(), cwd).to_str().map_or_else(|| given.to_owned(), str::to_owned),
        false => given.to_owned(),
    }
}

/// Prints a unified diff.
pub fn print_diff(diff: &str, page: &mut TextPage) {
    for line in diff.lines() {
        let tone = match line.as_bytes().first() {
            Some(b'+') if !line.starts_with("+++") => Tone::Good,
            Some(b'-') if !line.starts_with("---") => Tone::Bad,
            Some(b'@') => Tone::Dim,
            _ => Tone::Plain,
        };
        page.toned(line, tone);
    }
}
