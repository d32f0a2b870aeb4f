//! `tickcast ls`: all buses and their topics.

use std::io::{self, Write};

use anyhow::{Result, bail};
use serde::Serialize;
use tickcast::{Bus, FileError, Topic, TopicError};

use crate::output::{chain, stdout, tell, unless_abandoned};
use crate::size;
use crate::table::{Table, or_dash};

pub(crate) const AFTER_HELP: &str = "\
MEMORY is what the topic takes of the host's shared memory.

Example:
  tickcast ls --json";

/// Partitions of which a row shows the publisher and the next offset.
const SHOWN_MAX: usize = 4;

/// How to list.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// One JSON object a line: a topic, or a bus that has none
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    bus: String,
    #[serde(flatten)]
    topic: Option<TopicLine>,
}

#[derive(Serialize)]
struct TopicLine {
    topic: String,
    partitions: u32,
    ring_bytes: u64,
    shared_bytes: u64,
    /// Of each partition, in order.
    publisher_pids: Vec<Option<u64>>,
    next_offsets: Vec<u64>,
}

/// Lists what can be read.
///
/// # Errors
/// When something could not be read, after listing the rest.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (mut lines, mut failures) = (Vec::new(), 0);
    for name in Bus::list()? {
        if let Err(error) = list_bus(&name, &mut lines, &mut failures) {
            failures += u32::from(told(error.into(), &name));
        }
    }
    unless_abandoned(if options.json { print_json(&lines) } else { print_table(&lines) })?;
    if failures > 0 {
        bail!("{failures} of the buses and topics could not be read");
    }
    Ok(())
}

fn list_bus(name: &str, lines: &mut Vec<Line>, failures: &mut u32) -> Result<(), FileError> {
    let bus = Bus::open(name)?;
    let topics = bus.topics()?;
    if topics.is_empty() {
        lines.push(Line { bus: name.to_owned(), topic: None });
    }
    for topic in topics {
        match bus.open_topic(&topic).and_then(|topic| TopicLine::read(&topic)) {
            Ok(topic) => lines.push(Line { bus: name.to_owned(), topic: Some(topic) }),
            Err(error) => {
                *failures += u32::from(told(error.into(), &format!("{name}/{topic}")));
            }
        }
    }
    Ok(())
}

/// Tells why `name` is not listed, unless it was removed in the meantime.
fn told(error: anyhow::Error, name: &str) -> bool {
    let is_gone = |error: &FileError| matches!(error, FileError::NotFound(_));
    let is_topic_gone =
        |error: &TopicError| matches!(error, TopicError::File(error) if is_gone(error));
    if error.downcast_ref().is_some_and(is_gone) || error.downcast_ref().is_some_and(is_topic_gone)
    {
        return false;
    }
    tell(&chain(&error.context(format!("cannot read {name}"))));
    true
}

impl TopicLine {
    fn read(topic: &Topic) -> Result<Self, TopicError> {
        let stat = topic.stat()?;
        Ok(Self {
            topic: topic.name().to_owned(),
            partitions: topic.partitions(),
            ring_bytes: topic.ring_bytes(),
            shared_bytes: topic.shared_bytes(),
            publisher_pids: stat.partitions.iter().map(|stat| stat.publisher_pid).collect(),
            next_offsets: stat.partitions.iter().map(|stat| stat.next_offset).collect(),
        })
    }
}

fn print_json(lines: &[Line]) -> io::Result<()> {
    let mut out = stdout();
    for line in lines {
        serde_json::to_writer(&mut out, line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn print_table(lines: &[Line]) -> io::Result<()> {
    let headings = ["BUS", "TOPIC", "PARTITIONS", "RING", "MEMORY", "PUBLISHER PID", "NEXT OFFSET"];
    let mut table = Table::new(headings, 2);
    for Line { bus, topic } in lines {
        let dash = || "-".to_owned();
        table.push(match topic {
            None => [bus.clone(), dash(), dash(), dash(), dash(), dash(), dash()],
            Some(topic) => [
                bus.clone(),
                topic.topic.clone(),
                topic.partitions.to_string(),
                size::show(topic.ring_bytes),
                size::show(topic.shared_bytes),
                joined(topic.publisher_pids.iter().copied()),
                joined(topic.next_offsets.iter().copied().map(Some)),
            ],
        });
    }
    let mut out = stdout();
    table.write(&mut out, "")?;
    out.flush()
}

/// The first few of all partitions.
pub(crate) fn joined(numbers: impl ExactSizeIterator<Item = Option<u64>>) -> String {
    let more = if numbers.len() > SHOWN_MAX { ",..." } else { "" };
    let shown: Vec<_> = numbers.take(SHOWN_MAX).map(or_dash).collect();
    shown.join(",") + more
}
