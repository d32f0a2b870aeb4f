//! `tickcast record`: journals a topic to files until it is told to end.

use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::HumanCount;
use tickcast::runtime::{Core, CoreHandle, IdleStrategy};
use tickcast::{
    FileError, JournalStat, JournalState, PartitionStat, SyncPolicy, Topic, TopicError,
};

use crate::interrupt::{Interrupt, LOOK_AT_LEAST_EVERY};
use crate::list::joined;
use crate::name::Address;
use crate::output::{say, unless_abandoned};
use crate::{progress, size, time};

pub(crate) const AFTER_HELP: &str = "\
It begins with the oldest message of the ring, or goes on with what is there.
With none, files are flushed when they are full. The publisher waits for it,
also if it was killed. Ctrl-C makes all durable, and lets the publisher go on.

Example:
  tickcast record md/trades --dir /var/lib/md --sync 100ms";

/// How often the journal is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// What to record where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The topic, or one of its partitions
    #[arg(value_name = "BUS/TOPIC[/PARTITION]")]
    address: Address,
    /// The directory of journals: this one is D/TOPIC
    #[arg(long, value_name = "D")]
    dir: PathBuf,
    /// When to flush: none, always, 100ms
    #[arg(long, value_name = "WHEN", default_value = "none")]
    sync: Sync,
    /// Of a file: 256KiB to 64GiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    segment_size: Option<u64>,
    /// How long the publisher waits for it at most
    #[arg(long, value_name = "SECS", value_parser = time::seconds)]
    give_up_after: Option<Duration>,
    /// Remove old files but for so many newest bytes
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    keep_bytes: Option<u64>,
    /// Remove files that are older than so many days
    #[arg(long, value_name = "DAYS", value_parser = time::days)]
    keep_for: Option<Duration>,
    /// Pin the journal to this processor core
    #[arg(long, value_name = "N")]
    core: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Sync(SyncPolicy);

impl FromStr for Sync {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Ok(Self(match text {
            "none" => SyncPolicy::None,
            "always" => SyncPolicy::Always,
            text => SyncPolicy::Interval(
                time::interval(text).ok_or("give none, always, or an interval such as 100ms")?,
            ),
        }))
    }
}

/// Records until Ctrl-C.
///
/// # Errors
/// When the topic or the directory cannot be had, or not everything could be made durable.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let address = &options.address;
    let topic = address.open()?;
    let mut builder = Core::builder("journal").idle(IdleStrategy::back_off());
    if let Some(core_id) = options.core {
        check_core(core_id)?;
        builder = builder.pin(core_id);
    }
    let mut settings = topic.journal(&options.dir).sync(options.sync.0);
    if let Some(partition) = address.partition {
        settings = settings.partition(partition);
    }
    if let Some(segment_bytes) = options.segment_size {
        settings = settings.segment_bytes(segment_bytes);
    }
    if let Some(after) = options.give_up_after {
        settings = settings.give_up_after(after);
    }
    if let Some(bytes) = options.keep_bytes {
        settings = settings.keep_bytes(bytes);
    }
    if let Some(age) = options.keep_for {
        settings = settings.keep_for(age);
    }
    let journal = settings.open().with_context(|| format!("cannot record {address}"))?;
    let dir = journal.dir().display().to_string();
    let began = Standing::read(&topic, address.partition);
    let core = builder.agent(Box::new(journal)).start()?;
    // From here on it is closed in the end, whatever happens.
    let began = began?;
    let offsets = joined(began.journals().map(|journal| Some(journal?.written_offset)));
    let messages = if began.0.len() == 1 { "message" } else { "messages" };
    unless_abandoned(say(&format!("recording {address} to {dir} from {messages} {offsets}")))?;
    watch(&topic, address, &began, &core, &interrupt)?;
    // Whatever was published by now has to be on disk in the end.
    let published = Standing::read(&topic, address.partition)?;
    core.stop()?;
    let ended = Standing::read(&topic, address.partition)?;
    unless_abandoned(say(&format!("recorded {}", ended.told_since(&began))))?;
    let (failed, partitions) = (ended.failed(), ended.0.len());
    ensure!(failed == 0, "{failed} of {partitions} partitions are recorded no more: see above");
    ensure!(ended.has(&published), "not everything could be made durable: see above");
    Ok(())
}

/// Refuses a core before anything is begun that a publisher would wait for.
fn check_core(core_id: usize) -> Result<()> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let allowed: Vec<_> = allowed.iter().map(|core| core.id).collect();
    ensure!(allowed.contains(&core_id), "cannot use core {core_id}: give one of {allowed:?}");
    Ok(())
}

/// Shows how far it is until there is a reason to end.
fn watch(
    topic: &Topic,
    address: &Address,
    began: &Standing,
    core: &CoreHandle,
    interrupt: &Interrupt,
) -> Result<()> {
    let line = progress::line();
    let mut asked = Instant::now();
    while !interrupt.is_raised() && core.is_running() {
        thread::sleep(LOOK_AT_LEAST_EVERY);
        if asked.elapsed() < ASK_EVERY {
            continue;
        }
        asked = Instant::now();
        let now = match Standing::read(topic, address.partition) {
            Err(TopicError::File(FileError::NotFound(_))) => {
                bail!("{address}: its bus was removed")
            }
            now => now?,
        };
        line.set_message(now.told_since(began));
        if now.failed() == now.0.len() {
            break;
        }
    }
    line.finish_and_clear();
    Ok(())
}

/// How far the partitions are that are recorded.
struct Standing(Vec<PartitionStat>);

impl Standing {
    fn read(topic: &Topic, partition: Option<u32>) -> Result<Self, TopicError> {
        let partitions = topic.stat()?.partitions.into_iter().enumerate();
        let wanted = |index| partition.is_none_or(|partition| index == partition as usize);
        Ok(Self(partitions.filter(|(index, _)| wanted(*index)).map(|(_, stat)| stat).collect()))
    }

    fn journals(&self) -> impl ExactSizeIterator<Item = Option<&JournalStat>> {
        self.0.iter().map(|stat| stat.journal.as_ref())
    }

    fn failed(&self) -> usize {
        let failed = |journal: &&JournalStat| journal.state == JournalState::Failed;
        self.journals().flatten().filter(failed).count()
    }

    /// Whether everything is durable that was published when `before` was read.
    fn has(&self, before: &Self) -> bool {
        let mut pairs = self.journals().zip(&before.0);
        pairs.all(|(journal, before)| {
            journal.is_some_and(|journal| journal.durable_offset >= before.next_offset)
        })
    }

    fn told_since(&self, began: &Self) -> String {
        let (mut messages, mut bytes, mut durable) = (0, 0, 0);
        for (now, began) in self.journals().flatten().zip(began.journals().flatten()) {
            let first = began.written_offset;
            messages += now.written_offset.saturating_sub(first);
            durable += now.durable_offset.saturating_sub(first);
            bytes += now.written_position.saturating_sub(began.written_position);
        }
        let told = format!("{} messages, {} of log; ", HumanCount(messages), size::show(bytes));
        match durable >= messages {
            true => told + "all durable",
            false => format!("{told}{} durable", HumanCount(durable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_to_flush_is_a_word_or_an_interval() {
        let sync = |text: &str| text.parse().map(|Sync(policy)| policy);
        assert_eq!(sync("none"), Ok(SyncPolicy::None));
        assert_eq!(sync("always"), Ok(SyncPolicy::Always));
        assert_eq!(sync("100ms"), Ok(SyncPolicy::Interval(Duration::from_millis(100))));
        for text in ["", "100", "0ms", "never"] {
            assert!(sync(text).is_err(), "{text:?}");
        }
    }
}
