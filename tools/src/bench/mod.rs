//! `tickcast bench`: the harness's benchmarks, and those of the journal.
mod disk;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

pub(crate) use disk::{journal, replay};

/// How long to measure, and where to write every block.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) json: Option<PathBuf>,
}

fn deliver(report: &(impl Display + Serialize), options: &Options) -> Result<()> {
    write!(io::stdout().lock(), "{report}").context("cannot print the report")?;
    let Some(path) = &options.json else { return Ok(()) };
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, report)
        .map_err(io::Error::from)
        .and_then(|()| file.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}
