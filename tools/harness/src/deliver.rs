//! A report on its way out: to standard output, and into the files that were asked for, which are
//! opened before anything is measured.
use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::hgrm;
use crate::interrupt::Interrupt;
use crate::options::{Misused, Options, Takes};
use crate::output::Output;
use crate::page::{Chapter, page};
use crate::report::Curve;

/// What a run found: printed by its `Display`, and written as JSON by its `Serialize`.
pub trait Delivery: Display + Serialize {
    /// What a page shows of it.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    fn chapters(&self) -> Result<Vec<Chapter>>;

    /// Its distributions of times: the one that it is about first.
    fn curves(&self) -> Vec<&Curve>;
}

/// Measures by `run`, which a wish to end is told, prints the report, and writes what `options` ask
/// for.
///
/// # Errors
/// When the benchmark does not take these options, when two files are one, when `run` fails, or when
/// something cannot be written.
pub fn measure<R: Delivery>(
    takes: &Takes,
    options: &Options,
    run: impl FnOnce(&Interrupt) -> Result<R>,
) -> Result<()> {
    options.check(takes)?;
    let open = |path: &Option<_>| path.as_deref().map(Output::open).transpose();
    let (json, hgrm, html) = (open(&options.json)?, open(&options.hgrm)?, open(&options.report)?);
    let outputs = [("json", &json), ("hgrm", &hgrm), ("report", &html)];
    differ(&outputs.map(|(option, output)| Some((option, output.as_ref()?))))?;
    // From here on an interrupt leaves time to remove what is made: one wish, whatever `run` does.
    let report = run(&Interrupt::install()?)?;
    let write_json = |json: Output| {
        json.write(&serde_json::to_vec(&report).context("cannot make JSON of the report")?)
    };
    let write_page = |html: Output| html.write(page(&report.chapters()?).as_bytes());
    // Whatever cannot be written, the others are; the text last, since who reads it may be gone.
    let written = [
        json.map_or(Ok(()), write_json),
        hgrm.map_or(Ok(()), |hgrm| hgrm::write(&report.curves(), hgrm)),
        html.map_or(Ok(()), write_page),
        write!(io::stdout().lock(), "{report}").context("cannot print the report"),
    ];
    written.into_iter().collect()
}

/// Refuses two options that name one file: only one of them would be left in it.
fn differ(outputs: &[Option<(&str, &Output)>]) -> Result<(), Misused> {
    let given: Vec<_> = outputs.iter().flatten().collect();
    for (at, (option, output)) in given.iter().enumerate() {
        if let Some((other, _)) = given[..at].iter().find(|(_, other)| other.is(output)) {
            let path = output.path().display();
            return Err(Misused(format!("--{other} and --{option} name one file, {path}")));
        }
    }
    Ok(())
}
