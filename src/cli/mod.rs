//! The command line: one file per verb (a folder per noun). Parses, picks the target, calls the layers below and prints
//! through `output`.

mod audit;
mod bootstrap;
mod complete;
mod completions;
mod config;
mod context;
mod db;
mod demo;
mod dlq;
mod extract;
pub mod failure;
mod generate;
mod globals;
mod guard;
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
pub mod output;
mod reason;
mod record;
mod schema;
mod signals;
mod since;
mod status;
mod stored;
mod top;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};

use context::Context;
use failure::{Failure, FailureKind, Result};
use globals::Globals;
use output::{Output, OutputOptions};

/// Run a media backend: upload in bulk, run the pipeline's workers, redrive dead letters, and see it all live.
#[derive(Debug, Parser)]
#[command(name = "mfctl", version, propagate_version = false, max_term_width = 110)]
#[command(after_help = "\
Examples:
  mfctl demo                                  the whole job on sample media, in a folder of its own
  mfctl ingest ~/media && mfctl worker all --until-drained
  mfctl media search 'حافظ'                   find it
  mfctl dlq list                              what failed, and why
  mfctl top                                   watch

Exit codes: 0 done, 2 wrong usage, 3 done in part, 5 dependency not reachable, 6 invalid or missing,
7 conflict or locked, 8 refused, 10 a check failed, 129/130/143 stopped by a signal")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the whole job on sample media and show what happens
    Demo(demo::Args),
    /// Write a commented mfctl.toml and make the data folder
    Init(init::Args),
    /// Upload files and folders in bulk; resumable
    Ingest(ingest::Args),
    /// List ingest jobs, watch them, see what failed, verify what was stored
    Jobs(jobs::Args),
    /// Run the pipeline's workers: persist, enrich, or both
    Worker(worker::Args),
    /// Find assets, look at them, get their bytes, follow their story
    Media(media::Args),
    /// List, show, redrive and discard dead letters
    Dlq(dlq::Args),
    /// See, compare, check and register schemas; check events against them
    Schema(schema::Args),
    /// Make the topics, buckets, schemas and tables that the platform needs
    Bootstrap(bootstrap::Args),
    /// Read and change the settings of services, with their history
    Kv(kv::Args),
    /// Look at the catalog's tables in a cluster, and migrate them
    Db(db::Args),
    /// Say in one screen whether each part works
    Status(status::Args),
    /// Watch lag, rates, latency, dead letters and storage live
    Top(top::Args),
    /// Show how far each consumer group is behind
    Lag(lag::Args),
    /// Check that files, assets, objects and events agree
    Audit(audit::Args),
    /// mfctl's own settings: show, explain, path, trust
    Config(config::Args),
    /// Print a shell's completion script; it completes live values
    Completions(completions::Args),
    /// Print or write the manual pages
    Man(man::Args),
    /// Write the generated files of the repository
    #[command(name = "__generate", hide = true)]
    Generate(generate::Args),
}

/// Runs the command line of this process, and ends it with its exit code.
pub fn main() -> ! {
    leave::exit(exit_code())
}

fn exit_code() -> u8 {
    if let Some(code) = extract::run() {
        return code;
    }
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let cx = match Context::new(cli.globals) {
        Ok(cx) => cx,
        Err(failure) => return early(&failure),
    };
    let done = dispatch(cli.verb, &cx);
    finish(cx.out(), done)
}

fn dispatch(verb: Verb, cx: &Context) -> Result<()> {
    // What needs no runtime starts none.
    match verb {
        Verb::Completions(args) => completions::run(&args, cx),
        Verb::Man(args) => man::run(&args, cx),
        Verb::Generate(args) => generate::run(&args, cx),
        verb => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::unexpected("cannot start the runtime").because(&error))?;
            let done = runtime.block_on(run(verb, cx));
            // A blocking read that nobody waits for any more must not hold up the end.
            runtime.shutdown_background();
            done
        }
    }
}

async fn run(verb: Verb, cx: &Context) -> Result<()> {
    match verb {
        Verb::Demo(args) => demo::run(args, cx).await,
        Verb::Ingest(args) => ingest::run(args, cx).await,
        Verb::Jobs(args) => jobs::run(args, cx).await,
        Verb::Worker(args) => worker::run(args, cx).await,
        Verb::Media(args) => media::run(args, cx).await,
        Verb::Dlq(args) => dlq::run(args, cx).await,
        Verb::Schema(args) => schema::run(args, cx).await,
        Verb::Bootstrap(args) => bootstrap::run(args, cx).await,
        Verb::Kv(args) => kv::run(args, cx).await,
        Verb::Db(args) => db::run(&args, cx).await,
        Verb::Status(args) => status::run(args, cx).await,
        Verb::Top(args) => top::run(args, cx).await,
        Verb::Lag(args) => lag::run(args, cx).await,
        Verb::Audit(args) => audit::run(args, cx).await,
        Verb::Init(args) => init::run(&args, cx).await,
        Verb::Config(args) => config::run(&args, cx).await,
        Verb::Completions(_) | Verb::Man(_) | Verb::Generate(_) => Ok(()),
    }
}

fn finish(out: &Output, done: Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(failure) => {
            out.failure(&failure);
            failure.exit_code()
        }
    }
}

/// What clap answers: help and versions on stdout, wrong usage on stderr, with the error document where JSON was asked
/// for.
fn usage(error: &clap::Error) -> u8 {
    // A closed pipe or a stderr that is gone leaves nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return 0;
    }
    let wants_json = std::env::args().any(|word| {
        matches!(word.as_str(), "json" | "jsonl" | "-ojson" | "-ojsonl" | "--output=json" | "--output=jsonl")
    });
    let failure = Failure::usage(first_line(error)).hint("`mfctl help` and `mfctl VERB --help` show what there is");
    if wants_json {
        let options = OutputOptions { format: output::Format::Json, ..OutputOptions::default() };
        Output::new(options).failure(&failure);
    }
    FailureKind::Usage.exit_code()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// A failure from before anybody could say how to print.
fn early(failure: &Failure) -> u8 {
    finish(&Output::new(OutputOptions::default()), Err(failure.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_that_is_shown_has_an_example_and_its_exit_codes() {
        fn check(command: &clap::Command, path: &str) {
            for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
                let path = format!("{path} {}", verb.get_name());
                let help = verb.clone().render_long_help().to_string();
                assert!(help.contains("Examples:"), "{path} has no example");
                if !verb.has_subcommands() {
                    assert!(help.contains("Exit codes:"), "{path} does not say its exit codes");
                }
                check(verb, &path);
            }
        }
        check(&Cli::command(), "mfctl");
    }
}
