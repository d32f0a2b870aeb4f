//! `tickcast bench`: the harness's benchmarks, and those of the journal.
mod disk;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tickcast_harness::deliver::{print, write_json};

pub(crate) use disk::{journal, replay};

/// How long to measure, and where to write every block.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) json: Option<PathBuf>,
}

fn deliver(report: &(impl Display + Serialize), options: &Options) -> Result<()> {
    print(report)?;
    options.json.as_ref().map_or(Ok(()), |path| write_json(report, path))
}
