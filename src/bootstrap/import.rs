//! Manifests of an environment as it is, so that a platform that others made is adopted without a byte changed: a plan of
//! what is written here is empty.

use std::collections::BTreeMap;

use super::manifest::{File, Kind, file_of, head, text_of};
use super::plan::Scope;
use super::resources::{self, Also, Looked, World};
use mfctl_core::ports::Result;

/// What was found.
#[derive(Debug, Default)]
pub struct Imported {
    /// Files below the folder, with their text.
    pub files: Vec<File>,
    /// How many resources of each kind they declare.
    pub declared: BTreeMap<Kind, u64>,
    /// What is there and cannot be declared, and why.
    pub skipped: Vec<String>,
}

/// Reads everything there is, of the kinds in scope.
///
/// # Errors
/// Those of the ports.
pub async fn import(world: &World<'_>, scope: &Scope) -> Result<Imported> {
    let mut imported = Imported::default();
    for kind in Kind::ALL.iter().copied() {
        if scope.only.is_empty() || scope.only.iter().any(|only| only.kind == kind) {
            of_kind(world, kind, scope, &mut imported).await?;
        }
    }
    Ok(imported)
}

async fn of_kind(world: &World<'_>, kind: Kind, scope: &Scope, imported: &mut Imported) -> Result<()> {
    let resource = resources::of(kind);
    let live = match resource.live(world, &[], Also::Everything).await {
        Ok(Looked::Live(live)) => live,
        Ok(Looked::Nothing) => return Ok(()),
        Ok(Looked::Skipped(why)) => {
            imported.skipped.push(why);
            return Ok(());
        }
        // A platform without the server of a kind has none of it.
        Err(error) if resources::is_missing(world, kind) => {
            imported.skipped.push(error.full());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    for (id, fields) in &live {
        let Some(declared) = resource.declare(world, id, fields).await? else {
            imported.skipped.push(format!("{kind}/{id}: no manifest can say what it is"));
            continue;
        };
        if !scope.covers(kind, &declared.name) {
            continue;
        }
        if let Some((name, content)) = declared.file {
            imported.files.push((format!("base/{name}"), format!("{content:#}\n")));
        }
        text.push_str(&text_of(kind, &declared.name, &declared.spec));
        *imported.declared.entry(kind).or_default() += 1;
    }
    if !text.is_empty() {
        imported.files.push((format!("base/{}", file_of(kind)), head(kind) + &text));
    }
    Ok(())
}
