//! The command `tickcast-peers`: tickcast and other systems, measured beside each other.
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tickcast_harness::Options;
use tickcast_harness::benchmarks::Benchmark;
use tickcast_harness::deliver::measure;
use tickcast_harness::far_side::{self, FAR_SIDE_COMMAND};
#[cfg(feature = "aeron")]
use tickcast_peers::aeron::{DRIVER_COMMAND, Setting, driver};
use tickcast_peers::{CATALOGUE, LEFT_OUT};

/// The payloads that are compared unless others are asked for.
const PAYLOADS: [&str; 5] = ["16", "48", "112", "1KiB", "16KiB"];

/// Measure round trips and streams of tickcast and of other systems beside each other
#[derive(Parser)]
#[command(
    version,
    term_width = 80,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  tickcast-peers --payload 48 --peers rtrb,iceoryx2 --seconds 30"
)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Play the far side of a benchmark
    #[command(name = FAR_SIDE_COMMAND, hide = true)]
    FarSide { spec: String },
    /// Play Aeron's media driver
    #[cfg(feature = "aeron")]
    #[command(name = DRIVER_COMMAND, hide = true)]
    AeronDriver(Setting),
}

fn main() -> ExitCode {
    match parse().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told where it cannot be written.
            let _ = writeln!(io::stderr(), "tickcast-peers: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The command line, on which all peers and payloads are meant unless it says otherwise.
fn parse() -> Result<Cli> {
    let command = Cli::command()
        .mut_args(|arg| Benchmark::Compare.takes().show(arg))
        .mut_arg("payload", |payload| {
            payload.help("16, 48, 112, 256, 1KiB, 4KiB, 16KiB").default_values(PAYLOADS)
        })
        .mut_arg("peers", |peers| peers.default_value("all"));
    Cli::from_arg_matches(&command.get_matches()).context("cannot read the command line")
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        None => {
            for (name, how_to_get_it) in LEFT_OUT {
                writeln!(io::stdout(), "{name} is left out: {how_to_get_it}")?;
            }
            measure(&Benchmark::Compare.takes(), &cli.options, |interrupt| {
                Benchmark::Compare.run(&cli.options, CATALOGUE, interrupt)
            })
        }
        Some(Command::FarSide { spec }) => far_side::play(&spec, CATALOGUE),
        #[cfg(feature = "aeron")]
        Some(Command::AeronDriver(setting)) => driver::play(&setting),
    }
}

/// An error and its causes, none of them twice.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}
