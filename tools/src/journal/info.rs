//! `tickcast journal info`: the state that journals are in.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::json;
use tickcast::{JournalDir, JournalInfo};

use super::{Look, open, partitions, paths};
use crate::output::{stdout, unless_abandoned};
use crate::table::{Table, or_dash};
use crate::{size, time};

pub(crate) const AFTER_HELP: &str = "\
DURABLE is the offset up to which the files say that all was on disk. END is cut
where something behind it was written and is not all there: see journal verify.

Example:
  tickcast journal info /var/lib/md/trades --json";

/// Prints the state of all partitions.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn run(options: &Look) -> Result<()> {
    for path in paths(&options.which.path)? {
        let journal = open(&path)?;
        let partitions = partitions(&journal, options.which.partition).map(|partition| {
            let info = journal.info(partition);
            let info =
                info.with_context(|| format!("cannot read {}/{partition}", path.display()))?;
            Ok((partition, info))
        });
        let partitions: Vec<_> = partitions.collect::<Result<_>>()?;
        unless_abandoned(if options.json {
            print_json(&journal, &partitions)
        } else {
            print_tables(&journal, &partitions)
        })?;
    }
    Ok(())
}

fn print_json(journal: &JournalDir, partitions: &[(u32, JournalInfo)]) -> io::Result<()> {
    let mut out = stdout();
    for (partition, info) in partitions {
        let line = json!({
            "journal": journal.path().display().to_string(),
            "partition": partition,
            "segment_bytes": journal.segment_bytes(),
            "segments": info.segments,
            "disk_bytes": info.disk_bytes,
            "first_block": info.first_block,
            "last_block": info.last_block,
            "earliest_offset": info.earliest_offset,
            "earliest_timestamp": info.earliest_timestamp_ns,
            "next_offset": info.next_offset,
            "highest_timestamp": info.timestamp_max_ns,
            "position": info.position,
            "durable_offset": info.durable_offset,
            "durable_position": info.durable_position,
            "first_epoch": info.first_epoch,
            "last_epoch": info.last_epoch,
            "is_cut": info.is_cut,
            "is_being_written": info.is_being_written,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn print_tables(journal: &JournalDir, partitions: &[(u32, JournalInfo)]) -> io::Result<()> {
    let mut out = stdout();
    let segment_bytes = size::show(journal.segment_bytes());
    writeln!(out, "{}: segments of {segment_bytes}", journal.path().display())?;
    for (partition, info) in partitions {
        writeln!(out, "\npartition {partition}")?;
        let headings = ["SEGMENTS", "DISK", "EARLIEST", "NEXT OFFSET", "DURABLE", "EPOCHS", "END"];
        let mut table = Table::new(headings, 0);
        table.push([
            info.segments.to_string(),
            size::show(info.disk_bytes),
            info.earliest_offset.to_string(),
            info.next_offset.to_string(),
            or_dash(info.durable_offset),
            format!("{}-{}", info.first_epoch, info.last_epoch),
            end(info).to_owned(),
        ]);
        table.write(&mut out, "  ")?;
        if let (Some(from), Some(to)) = (info.earliest_timestamp_ns, info.timestamp_max_ns) {
            writeln!(out, "  from {} to {}", time::show(from), time::show(to))?;
        }
    }
    out.flush()
}

/// What is known of the end of the log.
fn end(info: &JournalInfo) -> &'static str {
    match info {
        JournalInfo { is_being_written: true, .. } => "written",
        JournalInfo { is_cut: true, .. } => "cut",
        _ => "whole",
    }
}
