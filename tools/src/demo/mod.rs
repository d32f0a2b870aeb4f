//! `tickcast demo`: plays market data to two subscribers in process and three in child processes,
//! verifies what each got, and measures. Change here what the demonstration consists of.

mod order_flow;

use std::path::PathBuf;

use anyhow::Result;

/// What to play.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Market data to play: a capture of UDP datagrams (pcap or pcapng, plain or gzip), or
    /// length-prefixed messages (BinaryFILE); without it, generated ITCH 5.0 order flow
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

/// What a child process of the demonstration is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SubscriberOptions {
    pub(crate) bus: String,
}

/// The name of the hidden command that a child process runs.
pub(crate) const SUBSCRIBER_COMMAND: &str = "demo-subscriber";

/// Plays, verifies, measures, prints the table.
///
/// # Errors
/// When a part cannot be set up or a subscriber did not get every message in order.
pub(crate) fn run(_options: &Options) -> Result<()> {
    Ok(())
}

/// Plays a subscriber in a process of its own.
///
/// # Errors
/// When the topic cannot be read.
pub(crate) fn run_subscriber(_options: &SubscriberOptions) -> Result<()> {
    Ok(())
}
