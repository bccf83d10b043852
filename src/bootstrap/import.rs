//! Generates manifests of an existing environment, so that a platform that other tools created can be adopted unchanged:
//! planning the generated manifests yields no change.

use std::collections::BTreeMap;

use super::manifest::{GeneratedFile, ResourceKind, document_text, file_header, file_name};
use super::plan::PlanScope;
use super::resources::{self, LiveState, ReadScope, ResourceContext};
use mfctl_core::ports::Result;

/// The manifests of an existing environment.
#[derive(Debug, Default)]
pub struct ImportedManifests {
    /// Files with their text, by path relative to the manifest folder.
    pub files: Vec<GeneratedFile>,
    /// Number of imported resources by kind.
    pub declared: BTreeMap<ResourceKind, u64>,
    /// What could not be imported, and why.
    pub skipped: Vec<String>,
}

/// Reads every resource in scope and generates its manifest.
///
/// # Errors
/// Those of the ports. A kind whose server the profile does not have is skipped.
pub async fn import(context: &ResourceContext<'_>, scope: &PlanScope) -> Result<ImportedManifests> {
    let mut imported = ImportedManifests::default();
    for kind in ResourceKind::ALL.iter().copied() {
        if scope.only.is_empty() || scope.only.iter().any(|selector| selector.kind == kind) {
            import_kind(context, kind, scope, &mut imported).await?;
        }
    }
    Ok(imported)
}

async fn import_kind(
    context: &ResourceContext<'_>,
    kind: ResourceKind,
    scope: &PlanScope,
    imported: &mut ImportedManifests,
) -> Result<()> {
    let resource = resources::for_kind(kind);
    let live = match resource.read_live(context, &[], ReadScope::All).await {
        Ok(LiveState::Found(live)) => live,
        Ok(LiveState::NotApplicable) => return Ok(()),
        Ok(LiveState::Skipped(reason)) => {
            imported.skipped.push(reason);
            return Ok(());
        }
        // A platform without the server of a kind has no resource of it.
        Err(error) if resources::lacks_server(context, kind) => {
            imported.skipped.push(error.full());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    for (id, fields) in &live {
        let Some(manifest) = resource.generate_manifest(context, id, fields).await? else {
            imported.skipped.push(format!("{kind}/{id}: it cannot be expressed as a manifest"));
            continue;
        };
        if !scope.covers(kind, &manifest.name) {
            continue;
        }
        imported.skipped.extend(manifest.left_out.iter().map(|part| format!("{kind}/{id}: {part}")));
        if let Some((name, content)) = manifest.file {
            imported.files.push((format!("base/{name}"), format!("{content:#}\n")));
        }
        text.push_str(&document_text(kind, &manifest.name, &manifest.spec));
        *imported.declared.entry(kind).or_default() += 1;
    }
    if !text.is_empty() {
        imported.files.push((format!("base/{}", file_name(kind)), file_header(kind) + &text));
    }
    Ok(())
}
