//! What stands above every report: what was run, and on what.
use std::fmt::{self, Display, Formatter};
use std::{env, fs};

use serde::Serialize;

use super::block::Clock;
use super::cores::Cores;

#[derive(Serialize)]
pub(crate) struct Heading {
    title: &'static str,
    command: Vec<String>,
    machine: Machine,
    cores: Cores,
    /// Both sides shared one core, so that times tell about the scheduler.
    oversubscribed: bool,
    pub(crate) clock: Clock,
    /// How often a side was put off its core; many of these mean that other programs wanted it, or
    /// the kernel itself, which flushes files on some core.
    pub(crate) preemptions: u64,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    kernel: String,
    cores: usize,
}

impl Heading {
    pub(crate) fn new(title: &'static str, cores: Cores, clock: Clock, preemptions: u64) -> Self {
        Self {
            title,
            command: env::args().collect(),
            machine: Machine::this(),
            cores,
            oversubscribed: cores.oversubscribed(),
            clock,
            preemptions,
        }
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            processor: model.unwrap_or("unknown").trim_start_matches(['\t', ' ', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        }
    }
}

impl Display for Heading {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.title)?;
        let Machine { processor, kernel, cores } = &self.machine;
        writeln!(out, "{processor}, {cores} cores, Linux {kernel}")?;
        let Cores { near, far } = self.cores;
        writeln!(out, "near side, which takes the times, on core {near}, far side on core {far}")?;
        if self.oversubscribed {
            writeln!(
                out,
                "OVERSUBSCRIBED: both sides share one core, so times are the scheduler's"
            )?;
        }
        Ok(())
    }
}
