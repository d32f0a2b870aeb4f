//! `tickcast journal truncate`: ends a journal before a message.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::HumanCount;
use tickcast::truncate;

use super::{open, partitions};
use crate::output::{stdout, tell, unless_abandoned};
use crate::size;

pub(crate) const AFTER_HELP: &str = "\
What comes from that message on is given up for good, and so is what cannot be
read before it at the end. Remove the topic's bus first: its ring still has it.

Example:
  tickcast journal truncate /var/lib/md/trades --to 1000";

/// Where to cut.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The journal of a topic
    #[arg(value_name = "D/TOPIC")]
    path: PathBuf,
    /// The offset that the next message is to get
    #[arg(long, value_name = "OFFSET")]
    to: u64,
    /// The partition, where there are several
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
}

/// Cuts.
///
/// # Errors
/// When the message is not there, somebody writes, or several partitions could be meant.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { path, to, .. } = options;
    let mut partitions = partitions(&open(path)?, options.partition);
    let (Some(partition), None) = (partitions.next(), partitions.next()) else {
        anyhow::bail!("{} has several partitions: say which, by --partition", path.display());
    };
    let name = format!("{}/{partition}", path.display());
    let cut = truncate(path, partition, *to).with_context(|| format!("cannot truncate {name}"))?;
    for cursor in &cut.cursors {
        tell(&format!("{name}: cursor {cursor} is ahead of the log now, and refused"));
    }
    let given_up = HumanCount(cut.was_end_offset.saturating_sub(cut.end_offset));
    let mut out = stdout();
    let line = writeln!(
        out,
        "{name}: ends before message {}; given up: {given_up} messages, {}",
        cut.end_offset,
        size::show(cut.bytes)
    );
    unless_abandoned(line.and_then(|()| out.flush()))
}
