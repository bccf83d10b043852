//! The command line: one file per command, one folder per group of commands. A command parses its arguments, connects
//! to the target, calls the layers below and prints through `output`.

mod audit;
mod bootstrap;
mod complete;
mod completions;
mod config;
mod context;
mod db;
mod demo;
mod dlq;
mod epilogue;
mod extract;
pub mod failure;
mod flag_bounds;
mod generate;
mod globals;
mod guard;
mod held_file;
mod ids;
mod ingest;
mod init;
mod jobs;
mod kv;
mod lag;
mod leave;
mod lock;
mod man;
mod media;
mod nul_names;
mod open_files;
pub mod output;
mod profile;
mod reason;
mod record;
mod schema;
mod settings_file;
mod signals;
mod since;
mod status;
mod stored;
mod top;
mod worker;

use std::time::SystemTime;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use context::Context;
use failure::{Failure, FailureKind, Result};
use globals::Globals;
use mfctl_core::domain::secret_like::secret_in_text;
use output::{Output, OutputOptions};

/// Operate a media backend: ingest in bulk, run the pipeline's workers, redrive dead letters, and watch it live.
#[derive(Debug, Parser)]
#[command(name = "mfctl", version, propagate_version = false)]
#[command(after_help = "\
Examples:
  mfctl demo                                  the whole pipeline on sample media, in a new folder
  mfctl ingest ~/media && mfctl worker all --until-drained
  mfctl media search 'حافظ'                   find what was ingested
  mfctl dlq list                              the dead letters, with their causes
  mfctl top                                   the live dashboard

Exit codes: 0 done, 2 wrong usage, 3 done in part, 5 dependency not reachable, 6 invalid or missing,
7 conflict or locked, 8 refused, 10 a check failed, 129/130/143 stopped by a signal")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: RootCommand,
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    /// Run the whole pipeline on sample media and show each step
    Demo(demo::Args),
    /// Write a commented mfctl.toml and create the data folder
    Init(init::Args),
    /// Upload files and folders in bulk; resumable
    Ingest(ingest::Args),
    /// List ingest jobs, watch them, list failed files, verify what was stored
    Jobs(jobs::Args),
    /// Run the pipeline's workers: persist, enrich, or both
    Worker(worker::Args),
    /// Search and show assets, get their bytes, trace their history
    Media(media::Args),
    /// List, show, redrive and discard dead letters
    Dlq(dlq::Args),
    /// Show, compare, check and register schemas; validate events against them
    Schema(schema::Args),
    /// Create the topics, buckets, schemas and other resources that the manifests declare
    Bootstrap(bootstrap::Args),
    /// Read and change the settings of services, and show their history
    Kv(kv::Args),
    /// Show the state of the catalog's database in a cluster, and migrate it
    Db(db::Args),
    /// Show on one screen whether each part works
    Status(status::Args),
    /// Watch lag, rates, latency, dead letters and storage live
    Top(top::Args),
    /// Show the lag of each consumer group, partition by partition
    Lag(lag::Args),
    /// Check that files, assets, objects and events agree
    Audit(audit::Args),
    /// Show, explain and change mfctl's own settings; accept a changed data folder
    Config(config::Args),
    /// List the profiles, choose the default one, add one
    Profile(profile::Args),
    /// Print a shell's completion script, which also completes live values
    Completions(completions::Args),
    /// Print or write the manual pages
    Man(man::Args),
    /// Write the generated files of the repository
    #[command(name = "__generate", hide = true)]
    Generate(generate::Args),
}

/// The definition of the whole command line.
#[must_use]
pub fn definition() -> clap::Command {
    epilogue::unwrap_epilogues(Cli::command())
}

/// Runs the command line of this process and exits with its code.
pub fn main() -> ! {
    leave::exit(exit_code())
}

fn exit_code() -> u8 {
    if let Some(code) = extract::run() {
        return code;
    }
    open_files::raise_limit();
    clap_complete::CompleteEnv::with_factory(definition).complete();
    let definition = epilogue::wrap_for_width(definition(), epilogue::help_width());
    let cli = match definition.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return print_parse_error(error),
    };
    let cx = match Context::new(cli.globals) {
        Ok(cx) => cx,
        Err(failure) => return fail_without_options(&failure),
    };
    let result = dispatch(cli.command, &cx);
    finish(cx.out(), result)
}

fn dispatch(command: RootCommand, cx: &Context) -> Result<()> {
    match command {
        RootCommand::Completions(args) => completions::run(&args, cx),
        RootCommand::Man(args) => man::run(&args, cx),
        RootCommand::Profile(args) => profile::run(&args, cx),
        RootCommand::Generate(args) => generate::run(&args, cx),
        command => {
            check_clock(SystemTime::now())?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::unexpected("cannot start the runtime").because(&error))?;
            let result = runtime.block_on(run(command, cx));
            // A blocking read that is no longer awaited must not delay the exit.
            runtime.shutdown_background();
            result
        }
    }
}

/// Refuses to work with a clock that is set to a time before 1970: ids and time stamps cannot express it.
fn check_clock(now: SystemTime) -> Result<()> {
    if now >= SystemTime::UNIX_EPOCH {
        return Ok(());
    }
    Err(Failure::invalid("this machine's clock is set to a time before 1970")
        .hint("set the clock: the order of jobs and events depends on it"))
}

/// Runs a command that needs the runtime.
async fn run(command: RootCommand, cx: &Context) -> Result<()> {
    match command {
        RootCommand::Demo(args) => demo::run(args, cx).await,
        RootCommand::Ingest(args) => Box::pin(ingest::run(args, cx)).await,
        RootCommand::Jobs(args) => jobs::run(args, cx).await,
        RootCommand::Worker(args) => worker::run(args, cx).await,
        RootCommand::Media(args) => media::run(args, cx).await,
        RootCommand::Dlq(args) => dlq::run(args, cx).await,
        RootCommand::Schema(args) => schema::run(args, cx).await,
        RootCommand::Bootstrap(args) => bootstrap::run(args, cx).await,
        RootCommand::Kv(args) => kv::run(args, cx).await,
        RootCommand::Db(args) => db::run(&args, cx).await,
        RootCommand::Status(args) => status::run(args, cx).await,
        RootCommand::Top(args) => top::run(args, cx).await,
        RootCommand::Lag(args) => lag::run(args, cx).await,
        RootCommand::Audit(args) => audit::run(args, cx).await,
        RootCommand::Init(args) => init::run(&args, cx).await,
        RootCommand::Config(args) => config::run(&args, cx).await,
        RootCommand::Profile(_) | RootCommand::Completions(_) | RootCommand::Man(_) | RootCommand::Generate(_) => {
            Ok(())
        }
    }
}

/// Prints the failure, if any; returns the exit code.
fn finish(out: &Output, result: Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            out.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Prints what clap returned: help and version on stdout, wrong usage on stderr; then the error document if the command
/// line asks for JSON. Returns the exit code.
fn print_parse_error(mut error: clap::Error) -> u8 {
    hide_secret(&mut error);
    // If the stream is closed, the error cannot be reported anywhere.
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    let json_words = ["json", "jsonl", "-ojson", "-ojsonl", "--output=json", "--output=jsonl"];
    let wants_json = std::env::args_os().any(|word| json_words.iter().any(|json| word == *json));
    let failure =
        Failure::usage(first_line(&error)).hint("`mfctl help` lists the commands, `mfctl COMMAND --help` explains one");
    if wants_json {
        let options = OutputOptions { format: output::Format::Json, ..OutputOptions::default() };
        Output::new(options).failure(&failure);
    }
    FailureKind::Usage.exit_code()
}

/// Leaves out of a message a refused value that looks like a secret.
fn hide_secret(error: &mut clap::Error) {
    let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
    if value.is_some_and(|value| secret_in_text(&value).is_some()) {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Prints a failure that came before the output options were known.
fn fail_without_options(failure: &Failure) -> u8 {
    finish(&Output::new(OutputOptions::default()), Err(failure.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_definitions_are_valid() {
        definition().debug_assert();
    }

    #[test]
    fn a_clock_before_1970_is_refused() {
        let before = SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
        assert_eq!(check_clock(before).unwrap_err().exit_code(), 6);
        assert!(check_clock(SystemTime::UNIX_EPOCH).is_ok());
    }

    #[test]
    fn every_visible_command_has_an_example_and_exit_codes() {
        fn check(command: &clap::Command, path: &str) {
            for subcommand in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
                let path = format!("{path} {}", subcommand.get_name());
                let help = subcommand.clone().render_long_help().to_string();
                assert!(help.contains("Examples:"), "{path} has no example");
                if !subcommand.has_subcommands() {
                    assert!(help.contains("Exit codes:"), "{path} does not list its exit codes");
                }
                check(subcommand, &path);
            }
        }
        check(&definition(), "mfctl");
    }
}
