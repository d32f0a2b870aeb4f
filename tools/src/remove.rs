//! `tickcast rm`: removes a bus.

use anyhow::{Context, Result};
use tickcast::Bus;

pub(crate) const AFTER_HELP: &str = "\
Its memory is free when the last process that uses it has let go of it.

Example:
  tickcast rm md --force";

/// What to remove.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The bus, with all its topics
    bus: String,
    /// Also while it is in use: its publishers and subscribers get an error
    #[arg(long)]
    force: bool,
}

/// Removes the bus.
///
/// # Errors
/// When there is none, it is in use, or it may not be removed.
pub(crate) fn run(options: &Options) -> Result<()> {
    Bus::remove(&options.bus, options.force)
        .with_context(|| format!("cannot remove bus {}", options.bus))
}
