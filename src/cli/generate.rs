//! `mfctl __generate`: writes all generated files of the repository.

mod contracts;

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Command};
use schemars::{Schema, schema_for};

use super::context::Context;
use super::failure::{Failure, Result};
use super::{completions, demo, dlq, lag, media, status};
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl __generate`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The repository's root
    #[arg(default_value = ".")]
    root: PathBuf,
}

/// Writes completions, schemas and reference pages below the root.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &Args, cx: &Context) -> Result<()> {
    let mut files = Vec::new();
    for (shell, file) in completions::SCRIPT_FILES {
        files.push((format!("completions/{file}"), completions::script(shell, "mfctl")?));
    }
    for (name, schema) in schemas() {
        let mut json = serde_json::to_string_pretty(&schema)
            .map_err(|error| Failure::unexpected("cannot write a schema").because(&error))?;
        json.push('\n');
        files.push((format!("schemas/cli/{name}.json"), json.into_bytes()));
    }
    for (name, schema) in crate::bootstrap::manifest::json_schemas() {
        files.push((format!("schemas/manifest/{name}.json"), format!("{schema:#}\n").into_bytes()));
    }
    files.push(("docs/reference/commands.md".to_owned(), commands().into_bytes()));
    files.push(("docs/reference/settings.md".to_owned(), crate::settings::reference().into_bytes()));
    files.push(("docs/reference/contracts.md".to_owned(), contracts::page(&args.root)?.into_bytes()));
    for (path, content) in &files {
        write(&args.root.join(path), content)?;
    }
    cx.out().note(format!("wrote {} files", files.len()));
    Ok(())
}

/// Schemas of the documents that `-o json` prints, by the command that prints them.
fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("audit", schema_for!(crate::ops::audit::AuditReport)),
        ("bootstrap-apply", schema_for!(super::bootstrap::BootstrapApplyReport)),
        ("bootstrap-import", schema_for!(super::bootstrap::BootstrapImportReport)),
        ("bootstrap-init-consul-acl", schema_for!(super::bootstrap::InitConsulAclReport)),
        ("bootstrap-init-vault", schema_for!(super::bootstrap::InitVaultReport)),
        ("bootstrap-plan", schema_for!(super::bootstrap::BootstrapPlanReport)),
        ("bootstrap-show", schema_for!(super::bootstrap::BootstrapShowReport)),
        ("config-change", schema_for!(super::config::ConfigChangeReport)),
        ("db-migrate", schema_for!(super::db::migrate::DbMigrateReport)),
        ("db-status", schema_for!(super::db::status::DbStatusReport)),
        ("demo", schema_for!(demo::DemoReport)),
        ("dlq-list", schema_for!(dlq::list::DlqListReport)),
        ("dlq-redrive", schema_for!(dlq::redrive::DlqRunReport)),
        ("dlq-show", schema_for!(dlq::show::DlqShowReport)),
        ("ingest", schema_for!(super::ingest::IngestReport)),
        ("jobs-show", schema_for!(super::jobs::show::ShownJob)),
        ("kv-change", schema_for!(super::kv::KvChangeReport)),
        ("kv-declare", schema_for!(super::kv::KvDeclareReport)),
        ("kv-explain", schema_for!(super::kv::KvExplainReport)),
        ("kv-get", schema_for!(super::kv::KvValue)),
        ("kv-pull", schema_for!(super::kv::KvPullReport)),
        ("kv-watch", schema_for!(super::kv::KvEvent)),
        ("lag", schema_for!(lag::LagReport)),
        ("media-lift", schema_for!(media::asset_changes::AssetChangeReport<crate::ops::takedown::LiftOutcome>)),
        ("media-search", schema_for!(media::search::MediaSearchReport)),
        ("media-show", schema_for!(media::show::MediaShowReport)),
        ("media-takedown", schema_for!(media::asset_changes::AssetChangeReport<crate::ops::takedown::TakedownOutcome>)),
        ("media-trace", schema_for!(media::trace::MediaTraceReport)),
        ("profile-add", schema_for!(super::profile::ProfileAddReport)),
        ("profile-list", schema_for!(super::profile::ProfileListReport)),
        ("profile-use", schema_for!(super::profile::ProfileUseReport)),
        ("schema-check", schema_for!(super::schema::check::SchemaCheckReport)),
        ("schema-diff", schema_for!(super::schema::diff::SchemaDiffReport)),
        ("schema-list", schema_for!(super::schema::list::SchemaListReport)),
        ("schema-register", schema_for!(super::schema::register::SchemaRegisterReport)),
        ("schema-show", schema_for!(super::schema::show::SchemaShowReport)),
        ("status", schema_for!(status::StatusReport)),
        ("top", schema_for!(crate::ops::vitals::Vitals)),
        ("worker", schema_for!(super::worker::WorkerReport)),
        ("target", schema_for!(crate::ops::target::Target)),
    ]
}

/// The command reference: the help of every command.
fn commands() -> String {
    let mut root = super::epilogue::wrap_for_width(super::definition(), 100);
    root.build();
    let mut text = String::from("# Commands\n\nGenerated by `make generate`; do not edit.\n");
    describe(&root, "mfctl", &mut text);
    text
}

fn describe(command: &Command, path: &str, text: &mut String) {
    let help = command.clone().color(clap::ColorChoice::Never).render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim()));
    for subcommand in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        describe(subcommand, &format!("{path} {}", subcommand.get_name()), text);
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.shown())).because(&error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, content).map_err(failed)
}
