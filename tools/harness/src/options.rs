//! What benchmarks are told on the command line, and which of it a benchmark takes: what means
//! nothing to it is refused, and not in its help. A new option is a field here and, where it is not
//! for all, a line in [`Options::given`].
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Args};
use thiserror::Error;

use crate::message::Payload;
use crate::transport::{Mode, Place};

/// What to measure, for how long, and where to write it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// 16, 48 (default), 112, 256, 1KiB, 4KiB, 16KiB
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    payload: Vec<Payload>,
    /// Messages a second where a schedule sends them
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1_000..=100_000_000)
    )]
    rate: Option<u64>,
    /// How long to measure
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub seconds: u64,
    /// The two cores, such as 2,3
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// How many a fan-out has, such as 1,8,64
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=64)
    )]
    subscribers: Vec<u64>,
    /// Both sides are threads of one process
    #[arg(long, conflicts_with = "ipc")]
    in_process: bool,
    /// The sides are two processes: the default
    #[arg(long)]
    ipc: bool,
    /// How subscribers read: reliable (default), lossy
    #[arg(long, value_enum, hide_possible_values = true)]
    mode: Option<Mode>,
    /// Others to run beside it, or all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// Where files are made, and removed again [default: .]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write every block to this file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write percentiles in HdrHistogram's format
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// What a benchmark makes of the options.
#[derive(Debug, Clone, Copy)]
pub struct Takes {
    /// The benchmark's name.
    pub benchmark: &'static str,
    /// Options that mean nothing to it, and why.
    pub refused: &'static [(&'static str, &'static str)],
    /// Whether it goes over several payloads.
    pub several_payloads: bool,
}

/// What can never work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Misused(pub(crate) String);

/// The rate of an open loop, in messages a second.
const RATE: u64 = 100_000;
/// How many subscribers fan-outs have.
const SUBSCRIBERS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

impl Options {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The payloads, one at least.
    pub fn payloads(&self) -> &[Payload] {
        if self.payload.is_empty() { &[Payload::TICK] } else { &self.payload }
    }

    /// The payload that the summary is about.
    pub fn first_payload(&self) -> Payload {
        self.payloads()[0]
    }

    /// Messages a second in the open loop.
    pub fn rate(&self) -> u64 {
        self.rate.unwrap_or(RATE)
    }

    /// The rate, if one was asked for.
    pub fn given_rate(&self) -> Option<u64> {
        self.rate
    }

    /// How many subscribers fan-outs have.
    pub fn subscribers(&self) -> &[u64] {
        if self.subscribers.is_empty() { &SUBSCRIBERS } else { &self.subscribers }
    }

    /// Where the far side is.
    pub fn place(&self) -> Place {
        if self.in_process { Place::InProcess } else { Place::Ipc }
    }

    /// How subscribers read.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::Reliable)
    }

    /// Where directories for files are made.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }

    /// The same, for a part of a run: `share` of the time, a second at least.
    pub fn part(&self, share: f64) -> Self {
        let seconds = ((self.seconds as f64 * share) as u64).max(1);
        Self { seconds, ..self.clone() }
    }

    /// The same, with the first payload alone.
    pub fn with_one_payload(&self) -> Self {
        Self { payload: vec![self.first_payload()], ..self.clone() }
    }

    /// Refuses what means nothing to a benchmark, and what is named twice.
    ///
    /// # Errors
    /// Which option it is, and why.
    pub fn check(&self, takes: &Takes) -> Result<(), Misused> {
        let Takes { benchmark, refused, several_payloads } = takes;
        let refusal = refused.iter().find(|(option, _)| self.given().contains(option));
        if let Some((option, why)) = refusal {
            return Err(Misused(format!("{benchmark} takes no --{option}: {why}")));
        }
        if self.payload.len() > 1 && !several_payloads {
            return Err(Misused(format!("{benchmark} takes one --payload, not several")));
        }
        differ("payload", &self.payload)?;
        differ("subscribers", &self.subscribers)?;
        differ("peers", &self.peers)
    }

    /// The options that were given, of those that not every benchmark takes.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("payload", !self.payload.is_empty()),
            ("rate", self.rate.is_some()),
            ("subscribers", !self.subscribers.is_empty()),
            ("in-process", self.in_process),
            ("ipc", self.ipc),
            ("mode", self.mode.is_some()),
            ("peers", !self.peers.is_empty()),
            ("dir", self.dir.is_some()),
        ];
        all.into_iter().filter(|&(_, is_given)| is_given).map(|(option, _)| option).collect()
    }
}

impl Takes {
    /// The argument as it stands in the benchmark's help: not at all if it is refused.
    pub fn show(&self, arg: Arg) -> Arg {
        let is_refused = self.refused.iter().any(|(option, _)| arg.get_long() == Some(option));
        if is_refused { arg.hide(true) } else { arg }
    }
}

/// Refuses a list that has something twice.
fn differ<T: Ord + ToString>(option: &str, values: &[T]) -> Result<(), Misused> {
    let mut seen = BTreeSet::new();
    match values.iter().find(|value| !seen.insert(*value)) {
        None => Ok(()),
        Some(value) => {
            Err(Misused(format!("--{option} names {} twice; name each once", value.to_string())))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    const TAKES: Takes = Takes {
        benchmark: "streams",
        refused: &[("rate", "they have none"), ("in-process", "no")],
        several_payloads: false,
    };

    fn check(arguments: &str) -> Result<(), String> {
        let arguments = ["bench"].into_iter().chain(arguments.split_whitespace());
        let Cli { options } = Cli::try_parse_from(arguments).unwrap();
        options.check(&TAKES).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_benchmark_does_not_take_is_refused_and_why() {
        assert_eq!(check("--payload 16 --subscribers 1,2 --mode lossy --cores 0,0"), Ok(()));
        for (arguments, told) in [
            ("--rate 100000", "streams takes no --rate: they have none"),
            ("--in-process", "streams takes no --in-process: no"),
            ("--payload 16,48", "streams takes one --payload, not several"),
            ("--subscribers 1,2,1", "--subscribers names 1 twice; name each once"),
            ("--peers a,a", "--peers names a twice; name each once"),
        ] {
            assert_eq!(check(arguments), Err(told.to_owned()));
        }
    }

    #[test]
    fn a_part_of_a_run_takes_a_second_at_least() {
        let Cli { options } = Cli::parse_from(["bench", "--seconds", "10"]);
        assert_eq!([0.25, 0.01].map(|share| options.part(share).seconds), [2, 1]);
    }
}
