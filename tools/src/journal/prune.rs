//! `tickcast journal prune`: removes old segments.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::HumanCount;
use tickcast::{Keep, prune};

use super::{Which, open, partitions, paths};
use crate::output::{stdout, unless_abandoned};
use crate::{size, time};

pub(crate) const AFTER_HELP: &str = "\
Whole segments go, oldest first; the newest two stay, and so does what a named
cursor needs. It may be recorded to and read meanwhile.

Example:
  tickcast journal prune /var/lib/md/trades --keep-for 7";

/// What to keep.
#[derive(Debug, clap::Args)]
#[command(override_usage = "tickcast journal prune [OPTIONS] <D[/TOPIC]>")]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    keep: KeepOptions,
    /// Remove what named cursors need, too
    #[arg(long)]
    ignore_cursors: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct KeepOptions {
    /// Keep so many of the newest bytes, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    keep_bytes: Option<u64>,
    /// Keep what is not older than so many days
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    keep_for: Option<Duration>,
    /// Keep messages from this offset on
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
}

/// Removes what need not be kept.
///
/// # Errors
/// When a journal cannot be read, or a file not be removed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let KeepOptions { keep_bytes, keep_for, before } = options.keep;
    let keep = Keep { bytes: keep_bytes, age: keep_for, before_offset: before };
    let mut out = stdout();
    for path in paths(&options.which.path)? {
        for partition in partitions(&open(&path)?, options.which.partition) {
            let name = format!("{}/{partition}", path.display());
            let pruned = prune(&path, partition, keep, options.ignore_cursors)
                .with_context(|| format!("cannot prune {name}"))?;
            let (segments, bytes) = (HumanCount(pruned.segments), size::show(pruned.bytes));
            let held = pruned.held_by.map_or(String::new(), |cursor| {
                format!("; cursor {cursor} needs what would have gone, too")
            });
            let line = writeln!(out, "{name}: removed {segments} segments, {bytes}{held}");
            unless_abandoned(line)?;
        }
    }
    unless_abandoned(out.flush())
}
