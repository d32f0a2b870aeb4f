//! What every benchmark is told on the command line.
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::message::Payload;
use crate::transport::{Mode, Place};

/// What to measure, for how long, and where to write it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// 16, 48, 112, 256, 1KiB, 4KiB, 16KiB
    #[arg(long, value_name = "SIZE", value_delimiter = ',', default_value = "48")]
    pub payload: Vec<Payload>,
    /// Messages a second in the open loop
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1_000..=100_000_000)
    )]
    pub rate: u64,
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
        default_values_t = [1, 2, 4, 8, 16, 32, 64],
        hide_default_value = true,
        value_parser = clap::value_parser!(u64).range(1..=64)
    )]
    pub subscribers: Vec<u64>,
    /// Both sides are threads of one process
    #[arg(long, conflicts_with = "ipc")]
    pub in_process: bool,
    /// The sides are two processes: the default
    #[arg(long)]
    pub ipc: bool,
    /// How subscribers read
    #[arg(long, value_enum, default_value_t = Mode::Reliable)]
    pub mode: Mode,
    /// Others to run beside it, or all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub peers: Vec<String>,
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

impl Options {
    /// How long to measure.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The payload that the summary is about.
    pub fn first_payload(&self) -> Payload {
        self.payload.first().copied().unwrap_or(Payload::TICK)
    }

    /// Where the far side is.
    pub fn place(&self) -> Place {
        if self.in_process { Place::InProcess } else { Place::Ipc }
    }
}
