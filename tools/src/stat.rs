//! `tickcast stat`: what a topic's partitions and their reliable subscribers have done.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tickcast::{
    JournalStat, JournalState, PartitionStat, SlowSubscriber, SubscriberStat, Topic, TopicError,
    WakeUp,
};

use crate::name::Address;
use crate::output::{stdout, unless_abandoned};
use crate::size;
use crate::table::{Table, or_dash};

pub(crate) const AFTER_HELP: &str = "\
Lossy subscribers are not shown: nobody but themselves knows of them.

Example:
  tickcast stat md/trades --json";

/// Of what to show the counters, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The topic, or one of its partitions
    #[arg(value_name = "BUS/TOPIC[/PARTITION]")]
    address: Address,
    /// One JSON object a line: a partition with its subscribers
    #[arg(long)]
    json: bool,
}

/// Prints the counters as they are now.
///
/// # Errors
/// When the topic cannot be read.
pub(crate) fn run(options: &Options) -> Result<()> {
    let topic = options.address.open()?;
    let stat = topic.stat().with_context(|| format!("cannot read topic {}", options.address))?;
    let mut partitions: Vec<(u32, PartitionStat)> = (0..).zip(stat.partitions).collect();
    if let Some(partition) = options.address.partition {
        let partition_count = topic.partitions();
        partitions.retain(|(index, _)| *index == partition);
        if partitions.is_empty() {
            return Err(TopicError::NoPartition { partition, partitions: partition_count }.into());
        }
    }
    unless_abandoned(if options.json {
        print_json(&topic, &partitions)
    } else {
        print_tables(&topic, &partitions)
    })
}

fn print_json(topic: &Topic, partitions: &[(u32, PartitionStat)]) -> io::Result<()> {
    let mut out = stdout();
    for (partition, stat) in partitions {
        let line = json!({
            "bus": topic.bus().name(),
            "topic": topic.name(),
            "partition": partition,
            "ring_bytes": topic.ring_bytes(),
            "next_offset": stat.next_offset,
            "earliest_offset": stat.earliest_offset,
            "position": stat.position,
            "payload_bytes": stat.payload_bytes,
            "epoch": stat.epoch,
            "publisher_pid": stat.publisher_pid,
            "full_waits": stat.full_waits,
            "evictions": stat.evictions,
            "reclaimed": stat.reclaimed,
            "journal": stat.journal.as_ref().map(journal_json),
            "subscribers": stat.subscribers.iter().map(subscriber_json).collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn journal_json(stat: &JournalStat) -> Value {
    json!({
        "state": state(stat),
        "pid": stat.pid,
        "is_waited_for": stat.is_waited_for,
        "written_offset": stat.written_offset,
        "written_position": stat.written_position,
        "durable_offset": stat.durable_offset,
        "lag": stat.lag,
        "lost": stat.lost,
        "errors": stat.errors,
        "last_error": stat.last_error,
        "path": stat.path.as_ref().map(|path| path.display().to_string()),
    })
}

/// How a journal is, in a word.
fn state(stat: &JournalStat) -> &'static str {
    match stat {
        JournalStat { state: JournalState::Closed, .. } => "closed",
        JournalStat { state: JournalState::Failed, .. } => "failed",
        JournalStat { pid: None, .. } => "killed",
        JournalStat { state: JournalState::Failing, .. } => "failing",
        _ => "running",
    }
}

fn subscriber_json(stat: &SubscriberStat) -> Value {
    json!({
        "slot": stat.slot,
        "pid": stat.pid,
        "offset": stat.offset,
        "lag": stat.lag,
        "messages": stat.messages,
        "payload_bytes": stat.payload_bytes,
        "lost": stat.lost,
    })
}

fn print_tables(topic: &Topic, partitions: &[(u32, PartitionStat)]) -> io::Result<()> {
    let mut out = stdout();
    let slow = match topic.slow_subscriber() {
        SlowSubscriber::Wait => "waited for".to_owned(),
        SlowSubscriber::EvictAfter(after) => format!("evicted after {after:?}"),
    };
    let wake_up = match topic.wake_up() {
        WakeUp::Bounded => "bounded",
        WakeUp::Prompt => "prompt",
    };
    writeln!(
        out,
        "{}/{}: ring {}, memory {}, messages up to {}\nreliable subscribers up to {} a partition, \
         {slow}; wake-up {wake_up}",
        topic.bus().name(),
        topic.name(),
        size::show(topic.ring_bytes()),
        size::show(topic.shared_bytes()),
        size::show(topic.message_bytes_max()),
        topic.reliable_max(),
    )?;
    for (partition, stat) in partitions {
        writeln!(out, "\npartition {partition}")?;
        partition_table(stat).write(&mut out, "  ")?;
        if let Some(journal) = &stat.journal {
            journal_table(journal).write(&mut out, "  ")?;
        }
        if !stat.subscribers.is_empty() {
            subscriber_table(&stat.subscribers).write(&mut out, "  ")?;
        }
    }
    out.flush()
}

fn partition_table(stat: &PartitionStat) -> Table<8> {
    let headings = [
        "PUBLISHER",
        "EPOCH",
        "EARLIEST",
        "NEXT OFFSET",
        "PAYLOAD",
        "FULL WAITS",
        "EVICTED",
        "DIED",
    ];
    let mut table = Table::new(headings, 0);
    table.push([
        or_dash(stat.publisher_pid),
        stat.epoch.to_string(),
        stat.earliest_offset.to_string(),
        stat.next_offset.to_string(),
        size::show(stat.payload_bytes),
        stat.full_waits.to_string(),
        stat.evictions.to_string(),
        stat.reclaimed.to_string(),
    ]);
    table
}

fn journal_table(stat: &JournalStat) -> Table<7> {
    let headings = ["JOURNAL", "STATE", "WRITTEN", "DURABLE", "LAG", "LOST", "ERRORS"];
    let mut table = Table::new(headings, 0);
    table.push([
        or_dash(stat.pid),
        state(stat).to_owned(),
        stat.written_offset.to_string(),
        stat.durable_offset.to_string(),
        stat.lag.to_string(),
        stat.lost.to_string(),
        stat.errors.to_string(),
    ]);
    table
}

fn subscriber_table(subscribers: &[SubscriberStat]) -> Table<7> {
    let headings = ["SUBSCRIBER", "SLOT", "OFFSET", "LAG", "MESSAGES", "PAYLOAD", "LOST"];
    let mut table = Table::new(headings, 0);
    for stat in subscribers {
        table.push([
            stat.pid.to_string(),
            stat.slot.to_string(),
            stat.offset.to_string(),
            stat.lag.to_string(),
            stat.messages.to_string(),
            size::show(stat.payload_bytes),
            stat.lost.to_string(),
        ]);
    }
    table
}
