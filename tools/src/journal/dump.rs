//! `tickcast journal dump`: blocks and frames as they lie in the files.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tickcast::{JournalEntry, StartAt};

use super::open;
use crate::output::{stdout, unless_abandoned};
use crate::{point, time};

pub(crate) const AFTER_HELP: &str = "\
A frame is a line: position in the log, offset, kind (with a plus where a replay
put it there), timestamp, bytes. Other lines are blocks, and damage.

Example:
  tickcast journal dump /var/lib/md/trades --from 17 --count 20";

/// What to dump.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The journal of a topic
    #[arg(value_name = "D/TOPIC")]
    path: PathBuf,
    /// The partition
    #[arg(long, value_name = "N", default_value_t = 0)]
    partition: u32,
    /// earliest, an offset, or a time
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = point::in_journal)]
    from: StartAt,
    /// End after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Prints a line for each block and each frame.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    let journal = open(&options.path)?;
    let mut out = stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut output = Ok(());
    let dumped = journal.dump(options.partition, options.from, |entry| {
        output = print(&mut out, &entry);
        left -= u64::from(matches!(entry, JournalEntry::Frame { .. }));
        if output.is_err() || left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    unless_abandoned(output.and_then(|()| out.flush()))?;
    dumped.with_context(|| format!("cannot read {}", options.path.display()))
}

fn print(out: &mut impl Write, entry: &JournalEntry) -> io::Result<()> {
    match *entry {
        JournalEntry::Block { number, position, first_offset, epoch, used_bytes, .. } => writeln!(
            out,
            "block {number}: position {position}, offset {first_offset}, epoch {epoch}, \
             {used_bytes} bytes"
        ),
        JournalEntry::Frame { position, offset, kind, timestamp_ns, length, is_replayed } => {
            let timestamp = timestamp_ns.map_or_else(|| "-".to_owned(), time::show);
            let plus = if is_replayed { '+' } else { ' ' };
            writeln!(out, "{position:>16} {offset:>12} {kind:<7}{plus} {timestamp:<30} {length:>8}")
        }
        JournalEntry::Damaged { number, position, kind } => {
            writeln!(out, "block {number}: damaged from position {position} on: {kind}")
        }
        _ => Ok(()),
    }
}
