//! `tickcast pub`: publishes what it reads.

use std::io::BufReader;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tickcast::runtime::clock;
use tickcast::{Bus, FileError, Full, PublishError, Publisher, Topic, TopicError};

use crate::input::{Format, Input, Record};
use crate::interrupt::{self, Interrupt};
use crate::name::Address;
use crate::output::tell;
use crate::size;

pub(crate) const AFTER_HELP: &str = "\
A bus stays after its publisher exits, until it is removed (tickcast rm).

Example:
  seq 5 | tickcast pub md/trades --create --ring-size 64MiB --partitions 2";

/// Bytes that are asked of standard input at a time.
const READ_BYTES: usize = 64 * 1024;

/// How often a full ring is looked at again.
const FULL_RETRY: Duration = Duration::from_micros(100);

/// How long a ring may be full before the user is told who is in the way.
const FULL_TOLD_AFTER: Duration = Duration::from_secs(1);

/// Where to publish what.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to publish; to partition 0 unless given
    #[arg(value_name = "BUS/TOPIC[/PARTITION]")]
    address: Address,
    /// Make the bus and the topic if there are none
    #[arg(long)]
    create: bool,
    /// Ring of each partition: a power of two from 256KiB to 64GiB [default: 16MiB]
    #[arg(long, value_name = "SIZE", requires = "create", value_parser = size::parse)]
    ring_size: Option<u64>,
    /// How many partitions to make, 1 to 1024 [default: 1]
    #[arg(long, value_name = "N", requires = "create")]
    partitions: Option<u32>,
    /// Read this file, not standard input; it may be gzip
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// BinaryFILE: big-endian u16 lengths instead of lines
    #[arg(long)]
    length_prefixed: bool,
    /// UDP payloads of a pcap or pcapng, with their times
    #[arg(long, conflicts_with = "length_prefixed")]
    capture: bool,
}

/// Publishes until the input ends or Ctrl-C.
///
/// # Errors
/// When the topic cannot be had, the input is damaged, or a message is too long.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let topic = if options.create { create(options)? } else { options.address.open()? };
    let partition = options.address.partition.unwrap_or(0);
    let address = options.address.with_partition(partition);
    let mut publisher =
        topic.publisher(partition).with_context(|| format!("cannot publish to {address}"))?;
    let mut input = match open_input(options, &topic, &interrupt) {
        Err(_) if interrupt.is_raised() => return Ok(()),
        input => input?,
    };
    let mut count = 0_u64;
    loop {
        let record = match input.next_record() {
            // The end of a line that was interrupted is never known.
            _ if interrupt.is_raised() => return Ok(()),
            record => record.with_context(|| {
                format!("cannot read message {count} of the input to {address}")
            })?,
        };
        let Some(record) = record else { break };
        if !publish(&mut publisher, record, &interrupt)
            .with_context(|| format!("cannot publish message {count} of the input to {address}"))?
        {
            return Ok(());
        }
        count += 1;
    }
    let skipped = input.skipped();
    if skipped.total() > 0 {
        tell(&format!("packets that are no messages were skipped: {skipped}"));
    }
    Ok(())
}

/// Opens the topic, and makes it and its bus where there are none.
fn create(options: &Options) -> Result<Topic> {
    let Address { bus: bus_name, topic: topic_name, partition } = &options.address;
    let found = Bus::open(bus_name);
    let is_new = matches!(found, Err(FileError::NotFound(_)));
    if !found.is_ok_and(|bus| bus.open_topic(topic_name).is_ok()) {
        // Before anything is made that would have no use. No partitions at all, or too many, are
        // for the library to refuse.
        let (partition, partitions) = (partition.unwrap_or(0), options.partitions.unwrap_or(1));
        ensure!(
            !(1..=partition).contains(&partitions),
            TopicError::NoPartition { partition, partitions }
        );
    }
    let bus = Bus::open_or_create(bus_name)
        .with_context(|| format!("cannot open or create bus {bus_name}"))?;
    let mut settings = bus.topic(topic_name);
    if let Some(ring_bytes) = options.ring_size {
        settings = settings.ring_bytes(ring_bytes);
    }
    if let Some(partitions) = options.partitions {
        settings = settings.partitions(partitions);
    }
    let made = settings
        .open_or_create()
        .with_context(|| format!("cannot open or create topic {bus_name}/{topic_name}"));
    if made.is_err() && is_new && bus.topics()?.is_empty() {
        // Nobody else's: a bus that is in use is not removed.
        drop((settings, bus));
        let _ = Bus::remove(bus_name, false);
    }
    made
}

fn open_input(options: &Options, topic: &Topic, interrupt: &Interrupt) -> Result<Input> {
    let format = match options {
        Options { length_prefixed: true, .. } => Format::LengthPrefixed,
        Options { capture: true, .. } => Format::Capture,
        _ => Format::Lines,
    };
    let input = match &options.file {
        Some(path) => Input::open(path, format)?,
        None => {
            let stdin = BufReader::with_capacity(READ_BYTES, interrupt::stdin(interrupt)?);
            Input::from_reader(Box::new(stdin), format)?
        }
    };
    Ok(input.line_bytes_max(topic.message_bytes_max()))
}

/// Publishes one message, waiting for slow subscribers as long as the user does: false when not.
fn publish(
    publisher: &mut Publisher,
    record: Record<'_>,
    interrupt: &Interrupt,
) -> Result<bool, PublishError> {
    let timestamp_ns = record.timestamp_ns.unwrap_or_else(clock::now_ns);
    let mut delay = Delay::default();
    while !interrupt.is_raised() {
        match publisher.try_publish(timestamp_ns, record.payload) {
            Err(PublishError::Full(full)) => delay.wait(full),
            published => return published.map(|_| true),
        }
    }
    Ok(false)
}

/// How long a message has been waiting for a subscriber.
#[derive(Default)]
struct Delay {
    since: Option<Instant>,
    is_told: bool,
}

impl Delay {
    /// Waits a little, and tells once who is in the way.
    fn wait(&mut self, full: Full) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.is_told && since.elapsed() >= FULL_TOLD_AFTER {
            tell(&format!("waiting: {full}"));
            self.is_told = true;
        }
        thread::sleep(FULL_RETRY);
    }
}
