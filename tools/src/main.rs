//! The command `tickcast`. Change here which subcommands there are and which exit codes they give;
//! each has its own file.

mod bench;
mod demo;
mod input;
mod interrupt;
mod journal;
mod list;
mod name;
mod output;
mod point;
mod progress;
mod publish;
mod record;
mod remove;
mod replay;
mod size;
mod stat;
mod subscribe;
mod table;
mod time;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tickcast::{FileError, JournalError, RemoveError, TopicError};
use tickcast_harness as harness;
use tickcast_harness::benchmarks::Benchmark;
use tickcast_harness::deliver::measure;
use tickcast_harness::far_side::{self, FAR_SIDE_COMMAND};
use tickcast_peers::CATALOGUE;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// A low-latency market-data and event bus in shared memory
#[derive(Parser)]
#[command(
    name = "tickcast",
    version,
    term_width = 80,
    disable_help_subcommand = true,
    // Without the line that is empty above the usage: all of it is to fit a screen.
    help_template = "{about-with-newline}{usage-heading} {usage}\n\n{all-args}{after-help}",
    after_help = "Buses are in /dev/shm/tickcast or TICKCAST_DIR. Exit codes: 1 failed, 2 usage.\n\
                  \nExample:\n  \
                  seq 5 | tickcast pub md/x --create; tickcast sub md/x --from earliest"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish messages, one a line, from standard input or a file
    #[command(after_help = publish::AFTER_HELP)]
    Pub(publish::Options),
    /// Print the messages of a topic as they come
    #[command(after_help = subscribe::AFTER_HELP)]
    Sub(subscribe::Options),
    /// List all buses and their topics
    #[command(after_help = list::AFTER_HELP)]
    Ls(list::Options),
    /// Show what a topic's partitions and subscribers have done
    #[command(after_help = stat::AFTER_HELP)]
    Stat(stat::Options),
    /// Remove a bus with all its topics
    #[command(after_help = remove::AFTER_HELP)]
    Rm(remove::Options),
    /// Journal a topic to files
    #[command(after_help = record::AFTER_HELP)]
    Record(record::Options),
    /// Print or publish what was recorded
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::Options),
    /// Look at what was recorded
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_help = "Example:\n  tickcast journal verify /var/lib/md"
    )]
    Journal(Journal),
    /// Play market data to five subscribers, verify, and measure
    #[command(after_help = "Example:\n  tickcast demo --input capture.pcap.gz")]
    Demo(demo::Options),
    /// Play a subscriber of the demonstration
    #[command(name = demo::SUBSCRIBER_COMMAND, hide = true)]
    DemoSubscriber(demo::SubscriberOptions),
    /// Measure beside the bare hand-off and the bare stream of this machine
    #[command(
        subcommand,
        disable_help_subcommand = true,
        after_help = "Example:\n  tickcast bench latency --seconds 30"
    )]
    Bench(Bench),
    /// Play the far side of a benchmark
    #[command(name = FAR_SIDE_COMMAND, hide = true)]
    BenchFarSide { spec: String },
}

#[derive(Subcommand)]
enum Journal {
    /// Show the state that journals are in
    #[command(after_help = journal::info::AFTER_HELP)]
    Info(journal::Look),
    /// Read journals from end to end, and name what is damaged
    #[command(after_help = journal::verify::AFTER_HELP)]
    Verify(journal::Look),
    /// Print blocks and frames as they lie in the files
    #[command(after_help = journal::dump::AFTER_HELP)]
    Dump(journal::dump::Options),
    /// End a journal before a message
    #[command(after_help = journal::truncate::AFTER_HELP)]
    Truncate(journal::truncate::Options),
    /// Remove old segments
    #[command(after_help = journal::prune::AFTER_HELP)]
    Prune(journal::prune::Options),
}

#[derive(Subcommand)]
enum Bench {
    /// Measure round trips between two cores
    #[command(
        mut_args(|arg| Benchmark::Latency.takes().show(arg)),
        after_help = "Example:\n  tickcast bench latency --seconds 30 --json latency.json"
    )]
    Latency(harness::Options),
    /// Measure streams of messages from one core to another
    #[command(
        mut_args(|arg| Benchmark::Throughput.takes().show(arg)),
        after_help = "Example:\n  tickcast bench throughput --json throughput.json"
    )]
    Throughput(harness::Options),
    /// Measure what further subscribers cost the publisher
    #[command(
        mut_args(|arg| Benchmark::Fanout.takes().show(arg)),
        after_help = "Example:\n  tickcast bench fanout --json fanout.json"
    )]
    Fanout(harness::Options),
    /// Measure datagrams over loopback, what feeds from the network are set against
    #[command(
        mut_args(|arg| Benchmark::Udp.takes().show(arg)),
        after_help = "Example:\n  tickcast bench udp --payload 112"
    )]
    Udp(harness::Options),
    /// Measure all of these, one after the other
    #[command(after_help = "Example:\n  tickcast bench all --seconds 60 --report all.html")]
    All(harness::Options),
    /// Measure journaling beside bare writes to the same disk
    #[command(
        mut_args(|arg| bench::JOURNAL.show(arg)),
        after_help = "Example:\n  tickcast bench journal --dir /var/tmp --json journal.json"
    )]
    Journal(harness::Options),
    /// Measure replays beside bare reads from the same disk
    #[command(
        mut_args(|arg| bench::REPLAY.show(arg)),
        after_help = "Example:\n  tickcast bench replay --dir /var/tmp --json replay.json"
    )]
    Replay(harness::Options),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    show_warnings();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(&output::chain(&error));
            ExitCode::from(if is_wrong_usage(&error) { WRONG_USAGE } else { FAILED })
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Pub(options) => publish::run(&options),
        Command::Sub(options) => subscribe::run(&options),
        Command::Ls(options) => list::run(&options),
        Command::Stat(options) => stat::run(&options),
        Command::Rm(options) => remove::run(&options),
        Command::Record(options) => record::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Journal(Journal::Info(options)) => journal::info::run(&options),
        Command::Journal(Journal::Verify(options)) => journal::verify::run(&options),
        Command::Journal(Journal::Dump(options)) => journal::dump::run(&options),
        Command::Journal(Journal::Truncate(options)) => journal::truncate::run(&options),
        Command::Journal(Journal::Prune(options)) => journal::prune::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::DemoSubscriber(options) => demo::run_subscriber(&options),
        Command::Bench(bench) => run_bench(&bench),
        Command::BenchFarSide { spec } => far_side::play(&spec, CATALOGUE),
    }
}

fn run_bench(bench: &Bench) -> anyhow::Result<()> {
    let (benchmark, options) = match bench {
        Bench::Latency(options) => (Benchmark::Latency, options),
        Bench::Throughput(options) => (Benchmark::Throughput, options),
        Bench::Fanout(options) => (Benchmark::Fanout, options),
        Bench::Udp(options) => (Benchmark::Udp, options),
        Bench::All(options) => {
            return measure(&Benchmark::All.takes(), options, |interrupt| {
                bench::all(options, interrupt)
            });
        }
        Bench::Journal(options) => {
            return measure(&bench::JOURNAL, options, |interrupt| {
                bench::journal(options, interrupt)
            });
        }
        Bench::Replay(options) => {
            return measure(&bench::REPLAY, options, |interrupt| bench::replay(options, interrupt));
        }
    };
    measure(&benchmark.takes(), options, |interrupt| benchmark.run(options, CATALOGUE, interrupt))
}

/// Shows the library's warnings on standard error; `RUST_LOG` asks for more or for less.
fn show_warnings() {
    let filter = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(filter)
        .format(|out, record| {
            writeln!(out, "tickcast: {}: {}", record.level().as_str().to_lowercase(), record.args())
        })
        .init();
}

/// Whether what was given can never work: only the library knows which names and sizes can.
fn is_wrong_usage(error: &anyhow::Error) -> bool {
    let is_bad_name = |error: &FileError| matches!(error, FileError::Name(_));
    let is_bad_setting = |error: &TopicError| match error {
        TopicError::BadRingBytes { .. } | TopicError::BadPartitions { .. } => true,
        TopicError::File(error) => is_bad_name(error),
        _ => false,
    };
    let is_bad_bus =
        |error: &RemoveError| matches!(error, RemoveError::File(error) if is_bad_name(error));
    let is_bad_journal =
        |error: &JournalError| matches!(error, JournalError::BadSegmentBytes { .. });
    error.is::<harness::Misused>()
        || error.downcast_ref().is_some_and(is_bad_name)
        || error.downcast_ref().is_some_and(is_bad_journal)
        || error.downcast_ref().is_some_and(is_bad_setting)
        || error.downcast_ref().is_some_and(is_bad_bus)
}
