//! A report on its way out: to standard output, and into the files that were asked for.
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::hgrm;
use crate::options::Options;
use crate::page::page;
use crate::report::Report;

/// Prints the report, and writes what `options` ask for.
///
/// # Errors
/// When something cannot be written.
pub fn deliver(report: &Report, options: &Options) -> Result<()> {
    print(report)?;
    if let Some(path) = &options.json {
        write_json(report, path)?;
    }
    if let Some(path) = &options.hgrm {
        hgrm::write(report, path)?;
    }
    if let Some(path) = &options.report {
        let page = page(report)?;
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Prints a report of any kind.
///
/// # Errors
/// When nobody takes it.
pub fn print(report: &impl Display) -> Result<()> {
    write!(io::stdout().lock(), "{report}").context("cannot print the report")
}

/// Writes a report of any kind.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(report: &impl Serialize, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = BufWriter::new(file);
    serde_json::to_writer(&mut file, report)
        .map_err(io::Error::from)
        .and_then(|()| file.flush())
        .with_context(|| format!("cannot write {}", path.display()))
}
