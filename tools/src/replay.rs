//! `tickcast replay`: prints or publishes what journals hold.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::{HumanBytes, HumanCount};
use tickcast::{
    Event, Flow, NoticeKind, Replay, ReplayCounters, ReplayError, Speed, StartAt, Until,
};

use crate::interrupt::Interrupt;
use crate::name::Address;
use crate::output::{Format, Printer, unless_abandoned};
use crate::{point, progress};

pub(crate) const AFTER_HELP: &str = "\
A plain number is an offset, in each partition. A time: 2026-01-02T03:04:05Z, or
in ns since 1970: 1767323045000000000ns. Exit code 1: a part cannot be read.

Example:
  tickcast replay /var/lib/md/trades --from 2026-01-02T03:04:05Z --speed 1";

/// What to replay where, and how fast.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Journals of topics; several come merged by their timestamps
    #[arg(value_name = "D/TOPIC", required = true)]
    journals: Vec<PathBuf>,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// earliest, an offset, or a time
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = point::in_journal)]
    from: StartAt,
    /// End before this offset, or this time
    #[arg(long, value_name = "WHERE", value_parser = point::end)]
    to: Option<Until>,
    /// max, 1 (as recorded), or a factor
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = speed)]
    speed: Speed,
    /// Publish to this topic, flagged, instead of printing
    #[arg(long, value_name = "BUS/TOPIC", value_parser = topic)]
    into: Option<Address>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// text, json, hex, or raw: bytes alone
    #[arg(long, default_value = "text", hide_possible_values = true, conflicts_with = "into")]
    format: Format,
}

fn speed(text: &str) -> Result<Speed, &'static str> {
    match (text, text.parse()) {
        ("max", _) => Ok(Speed::Max),
        (_, Ok(1.0)) => Ok(Speed::Recorded),
        (_, Ok(times)) if f64::is_normal(times) && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("give max, or a number above 0, such as 0.5"),
    }
}

fn topic(text: &str) -> Result<Address, String> {
    match text.parse()? {
        Address { partition: Some(_), .. } => {
            Err("give BUS/TOPIC alone: each message goes to the partition that it was in".into())
        }
        address => Ok(address),
    }
}

/// Replays until there is nothing more, or Ctrl-C.
///
/// # Errors
/// When the journals or the topic cannot be had, or a part of the files cannot be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let (replay, has_several) = open(options)?;
    let line = match options.into {
        Some(_) => progress::line(),
        None => progress::line_beside_output(),
    };
    let (drawn, mut told_at) = (line.clone(), Instant::now());
    let replay = replay.watch(move |counters| {
        if !drawn.is_hidden() && told_at.elapsed() >= progress::TICK {
            drawn.set_message(told(counters));
            told_at = Instant::now();
        }
        if interrupt.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let counters = match &options.into {
        Some(address) => publish(replay, address),
        None => print(replay, options, has_several),
    };
    line.finish_and_clear();
    let holes = counters?.holes;
    let parts = if holes == 1 { "part" } else { "parts" };
    ensure!(holes == 0, "{holes} {parts} cannot be read: see above, and tickcast journal verify");
    Ok(())
}

/// Returns also whether there are several partitions.
fn open(options: &Options) -> Result<(Replay, bool)> {
    let mut found: Option<(Replay, u32)> = None;
    for path in &options.journals {
        let (opened, before) = match found.take() {
            None => (Replay::open(path), 0),
            Some((replay, before)) => (replay.and(path), before),
        };
        let mut replay = opened.with_context(|| format!("cannot replay {}", path.display()))?;
        let partitions = replay.partitions();
        if let Some(partition) = options.partition {
            replay = replay.partition(partition);
        }
        found = Some((replay, before.max(partitions)));
    }
    let (replay, partitions) = found.context("give a journal")?;
    let replay = replay
        .from(options.from)
        .until(options.to.unwrap_or_default())
        .speed(options.speed)
        .count(options.count.unwrap_or(u64::MAX));
    Ok((replay, partitions > 1))
}

fn publish(replay: Replay, address: &Address) -> Result<ReplayCounters> {
    let topic = address.open()?;
    replay.run_into(&topic).with_context(|| format!("cannot replay into {address}"))
}

fn print(replay: Replay, options: &Options, has_several: bool) -> Result<ReplayCounters> {
    let names = options.journals.iter().map(|path| path.display().to_string()).collect();
    let mut printer = Printer::new(options.format, names, has_several);
    let is_paced = options.speed != Speed::Max;
    let mut output = Ok(());
    let mut take = |event: Event<'_>| -> io::Result<()> {
        match event {
            Event::Message(message) => printer.message(&message)?,
            Event::Notice(notice) => match notice.kind {
                NoticeKind::Lost { from, to, cause } => {
                    printer.loss(notice.origin, from, to, cause)?;
                }
                kind => printer.notice(notice.origin, &kind),
            },
        }
        // What is waited for next may be long in coming.
        if is_paced { printer.flush() } else { Ok(()) }
    };
    let counters: Result<_, ReplayError> = replay.run(|event| {
        output = take(event);
        if output.is_ok() { Flow::Next } else { Flow::Stop }
    });
    unless_abandoned(output.and_then(|()| printer.flush()))?;
    Ok(counters?)
}

fn told(counters: &ReplayCounters) -> String {
    let ReplayCounters { messages, payload_bytes, .. } = *counters;
    format!("{} messages, {}", HumanCount(messages), HumanBytes(payload_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_above_0_or_max() {
        for (text, expected) in [
            ("max", Speed::Max),
            ("1", Speed::Recorded),
            ("1.0", Speed::Recorded),
            ("10", Speed::Times(10.0)),
            ("0.5", Speed::Times(0.5)),
        ] {
            assert_eq!(speed(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-1", "nan", "inf", "1e-320", "fast"] {
            assert!(speed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_replay_goes_into_a_whole_topic() {
        assert!(topic("md/trades").is_ok());
        assert!(topic("md/trades/0").is_err() && topic("md").is_err());
    }
}
