//! What a program holds to read journals: settings, and handing out what they hold.
#![forbid(unsafe_code)]

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::bus::message::{Event, Flow, LossCause, Message, Notice, NoticeKind, Origin};
use crate::bus::{PublishError, Publisher, PublisherError, Topic};
use crate::journal::error::JournalError;
use crate::journal::pace::{Pace, Speed};
use crate::journal::topic_dir::TopicDir;
use crate::journal::track::Track;
use crate::log::lane::StartAt;
use crate::log::reader::{Frame, RawMessage};
use crate::runtime::inside_agent;

/// Of more partitions than these nothing is read ahead: each has threads and memory of its own.
const AHEAD_LANES_MAX: usize = 4;

/// Where a replay ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Until {
    /// With the last message that the files hold.
    #[default]
    End,
    /// Before the message of this offset, in each partition.
    Offset(u64),
    /// Before the first message whose timestamp is at or behind this time, ns since the Unix epoch,
    /// in each partition.
    Time(u64),
}

/// Reads journals: by default all that they hold, as fast as possible.
///
/// Several partitions, of one topic or of several, come merged by their timestamps, each in its own
/// order. Memory is bounded whatever the journal's size: up to 7 MiB for each of four
/// partitions, 256 KiB for each of more, and the largest message.
///
/// As fast as possible takes two cores: where up to four partitions are replayed, and much of one
/// is read, four threads read and check what comes next in it. They may run where the thread may
/// that replays. At a pace, and of more partitions, there are none.
///
/// # Examples
/// ```no_run
/// use tickcast::{Event, Replay, Speed, StartAt};
///
/// let counters = Replay::open("/var/lib/md/trades")?
///     .from(StartAt::Offset(1_000))
///     .speed(Speed::Recorded)
///     .run(|event| match event {
///         Event::Message(message) => println!("{} {:?}", message.offset, message.payload),
///         Event::Notice(notice) => eprintln!("{notice}"),
///     })?;
/// println!("{} messages", counters.messages);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "settings replay nothing until they are run"]
pub struct Replay {
    /// At least one.
    parts: Vec<Part>,
    from: StartAt,
    until: Until,
    speed: Speed,
    count_max: u64,
    filter: Option<Filter>,
    watch: Watch,
}

/// A topic's journal, or one partition of it.
#[derive(Debug)]
struct Part {
    dir: TopicDir,
    partition: Option<u32>,
}

/// Whether a payload is wanted.
type Wants = dyn FnMut(&[u8]) -> bool + Send;

struct Filter(Box<Wants>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filter")
    }
}

/// Is told how far a replay is, and may end it.
type Watches = dyn FnMut(&ReplayCounters) -> ControlFlow<()> + Send;

struct Watch(Box<Watches>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// What a replay has handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReplayCounters {
    /// Messages, without those that the filter left out.
    pub messages: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Messages that the log says are lost, or that cannot be read any more.
    pub lost: u64,
    /// Parts of the files that cannot be read. What is wrong with them is logged.
    pub holes: u64,
    /// How often a file was read from, to find the start and to go on from there.
    pub reads: u64,
}

impl Replay {
    /// The journal of a topic: the directory that was recorded to, and the topic's name in it.
    ///
    /// # Errors
    /// [`JournalError::Absent`], a damaged directory, no permission.
    pub fn open(path: impl AsRef<Path>) -> Result<Replay, JournalError> {
        let part = Part { dir: TopicDir::open(path.as_ref())?, partition: None };
        Ok(Replay {
            parts: vec![part],
            from: StartAt::Earliest,
            until: Until::End,
            speed: Speed::Max,
            count_max: u64::MAX,
            filter: None,
            watch: Watch(Box::new(|_| ControlFlow::Continue(()))),
        })
    }

    /// Adds the journal of another topic; its messages have the next [`Origin::topic`].
    ///
    /// # Errors
    /// As [`Replay::open`].
    pub fn and(mut self, path: impl AsRef<Path>) -> Result<Replay, JournalError> {
        self.parts.push(Part { dir: TopicDir::open(path.as_ref())?, partition: None });
        Ok(self)
    }

    /// Only this partition of the topic that was added last.
    pub fn partition(mut self, partition: u32) -> Replay {
        self.parts.last_mut().expect("there is one from the start").partition = Some(partition);
        self
    }

    /// Where it starts. [`StartAt::Live`] is behind all that is there.
    pub fn from(mut self, from: StartAt) -> Replay {
        self.from = from;
        self
    }

    /// Where it ends.
    pub fn until(mut self, until: Until) -> Replay {
        self.until = until;
        self
    }

    /// How fast it goes.
    pub fn speed(mut self, speed: Speed) -> Replay {
        self.speed = speed;
        self
    }

    /// It ends after so many messages.
    pub fn count(mut self, count_max: u64) -> Replay {
        self.count_max = count_max;
        self
    }

    /// Tells `watch` how far it is, now and then, also while it waits for a message's time; it ends
    /// where that breaks.
    pub fn watch(
        mut self,
        watch: impl FnMut(&ReplayCounters) -> ControlFlow<()> + Send + 'static,
    ) -> Replay {
        self.watch = Watch(Box::new(watch));
        self
    }

    /// Only messages whose payload `filter` takes.
    pub fn filter(mut self, filter: impl FnMut(&[u8]) -> bool + Send + 'static) -> Replay {
        self.filter = Some(Filter(Box::new(filter)));
        self
    }

    /// How many partitions the topic that was added last has.
    pub fn partitions(&self) -> u32 {
        self.parts.last().map_or(0, |part| part.dir.descriptor.partitions)
    }

    /// Hands everything to `handler`, as a subscriber would: messages, and a notice for each loss.
    ///
    /// # Errors
    /// [`ReplayError`]. What is damaged is no error: it is passed over, told as
    /// [`NoticeKind::Lost`], and counted.
    pub fn run<R: Into<Flow>>(
        self,
        mut handler: impl FnMut(Event<'_>) -> R,
    ) -> Result<ReplayCounters, ReplayError> {
        if inside_agent() {
            return Err(ReplayError::InsideAgent);
        }
        let mut run = Run::new(self)?;
        let mut flow = Flow::Next;
        while flow != Flow::Stop && run.wants_more() {
            let Some(next) = run.next()? else { break };
            flow = run.hand_out(next, &mut handler);
        }
        Ok(run.counters())
    }

    /// Publishes everything to `topic`, each message to the partition that it was in, with its
    /// timestamp, and [flagged](Message::is_replayed). Offsets are the topic's own.
    ///
    /// # Errors
    /// [`ReplayError`]: also when the topic has fewer partitions, or a publisher.
    pub fn run_into(self, topic: &Topic) -> Result<ReplayCounters, ReplayError> {
        let mut publishers: Vec<(u32, Publisher)> = Vec::new();
        let mut failed = None;
        let counters = self.run(|event| {
            let Event::Message(message) = event else { return Flow::Next };
            let partition = message.origin.partition;
            let published = publisher_of(&mut publishers, topic, partition).and_then(|publisher| {
                Ok(publisher.publish_replayed(message.timestamp_ns, message.payload)?)
            });
            match published {
                Ok(_) => Flow::Next,
                Err(error) => {
                    failed = Some(error);
                    Flow::Stop
                }
            }
        })?;
        failed.map_or(Ok(counters), Err)
    }
}

/// The publisher of a partition, which is opened when it is first needed.
fn publisher_of<'a>(
    publishers: &'a mut Vec<(u32, Publisher)>,
    topic: &Topic,
    partition: u32,
) -> Result<&'a mut Publisher, ReplayError> {
    let at = publishers.iter().position(|(of, _)| *of == partition);
    let at = match at {
        Some(at) => at,
        None => {
            publishers.push((partition, topic.publisher(partition)?));
            publishers.len() - 1
        }
    };
    Ok(&mut publishers[at].1)
}

/// Why a replay ended early.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A replay waits, and an agent must not.
    #[error("a replay cannot run inside an agent's poll: run it on a thread of its own")]
    InsideAgent,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The topic that is replayed into.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// The topic that is replayed into.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// One partition that is replayed.
struct Lane {
    track: Track,
    origin: Origin,
    path: PathBuf,
    /// Where it ends.
    offset_end: u64,
    time_end_ns: u64,
    /// The timestamp of the message that comes next; of a loss the one before.
    time_ns: u64,
    is_ready: bool,
    is_finished: bool,
}

/// A replay that runs.
struct Run {
    lanes: Vec<Lane>,
    outlet: Outlet,
}

/// What stands between the log and the handler.
struct Outlet {
    pace: Option<Pace>,
    filter: Option<Filter>,
    count_max: u64,
    watch: Watch,
    counters: ReplayCounters,
}

impl Run {
    fn new(replay: Replay) -> Result<Run, ReplayError> {
        let Replay { parts, from, until, speed, count_max, filter, watch } = replay;
        let mut lanes = Vec::new();
        for (topic, Part { dir, partition }) in parts.iter().enumerate() {
            let (first, count) = match partition {
                Some(partition) => (*partition, 1),
                None => (0, dir.descriptor.partitions),
            };
            for partition in first..first + count {
                let origin = Origin { topic: topic as u32, partition };
                let path = dir.path().to_owned();
                let blocks = dir.blocks(partition)?;
                let bytes_max = dir.descriptor.message_bytes_max();
                let track = Track::open(blocks, from, bytes_max)
                    .map_err(|source| io_error(source, &path, origin, 0))?;
                let Some(track) = track else { continue };
                let (offset_end, time_end_ns) = match until {
                    Until::End => (u64::MAX, u64::MAX),
                    Until::Offset(offset) => (offset, u64::MAX),
                    Until::Time(time_ns) => (u64::MAX, time_ns),
                };
                lanes.push(Lane {
                    track,
                    origin,
                    path,
                    offset_end,
                    time_end_ns,
                    time_ns: 0,
                    is_ready: false,
                    is_finished: false,
                });
            }
        }
        if speed == Speed::Max && lanes.len() <= AHEAD_LANES_MAX {
            lanes.iter_mut().for_each(|lane| lane.track.read_ahead());
        }
        let (pace, counters) = (Pace::new(speed), ReplayCounters::default());
        Ok(Run { lanes, outlet: Outlet { pace, filter, count_max, watch, counters } })
    }

    fn wants_more(&mut self) -> bool {
        let counters = self.counters();
        let Outlet { count_max, watch, .. } = &mut self.outlet;
        counters.messages < *count_max && (watch.0)(&counters).is_continue()
    }

    /// The partition whose next event is the oldest.
    fn next(&mut self) -> Result<Option<usize>, ReplayError> {
        for lane in &mut self.lanes {
            lane.look()?;
        }
        let ready = self.lanes.iter().enumerate().filter(|(_, lane)| lane.is_ready);
        Ok(ready.min_by_key(|(_, lane)| lane.time_ns).map(|(index, _)| index))
    }

    /// Hands out the next event of a partition, and what follows it where that is the only one.
    fn hand_out<R: Into<Flow>>(
        &mut self,
        index: usize,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Flow {
        let Run { lanes, outlet } = self;
        let is_alone = lanes.len() == 1;
        let lane = &mut lanes[index];
        let origin = lane.origin;
        lane.is_ready = false;
        let mut lost = 0;
        let flow = match lane.track.frame() {
            Some(Frame::Message(raw)) => {
                outlet.hand_out(Event::Message(Message::new(origin, raw)), handler)
            }
            Some(Frame::Lost { from, to, cause }) => {
                // What the files do not have, the journal has lost.
                let cause =
                    cause.map_or(LossCause::Journal, |code| LossCause::from_code(Some(code)));
                lost = to - from + 1;
                let kind = NoticeKind::Lost { from, to, cause };
                outlet.hand_out(Event::Notice(Notice { kind, origin }), handler)
            }
            Some(Frame::Control { .. }) | None => Flow::Next,
        };
        if flow == Flow::Retry {
            lane.is_ready = true;
            std::thread::yield_now();
            return flow;
        }
        lane.track.consume();
        outlet.counters.lost += lost;
        if flow == Flow::Stop || !is_alone { flow } else { lane.hand_out_run(outlet, handler) }
    }

    fn counters(&self) -> ReplayCounters {
        let holes = self.lanes.iter().map(|lane| lane.track.holes()).sum();
        let reads = self.lanes.iter().map(|lane| lane.track.reads()).sum();
        ReplayCounters { holes, reads, ..self.outlet.counters }
    }
}

impl Lane {
    /// Looks what comes next, unless that is known.
    fn look(&mut self) -> Result<(), ReplayError> {
        if self.is_ready || self.is_finished {
            return Ok(());
        }
        self.is_ready = self.track.ready().map_err(|source| {
            let position = self.track.position();
            io_error(source, &self.path, self.origin, position)
        })?;
        self.is_finished = !self.is_ready || self.track.offset() >= self.offset_end;
        if let Some(Frame::Message(message)) = self.track.frame() {
            self.time_ns = message.timestamp_ns;
            self.is_finished |= message.timestamp_ns >= self.time_end_ns;
        }
        self.is_ready &= !self.is_finished;
        Ok(())
    }

    /// Hands out the plain messages that follow what was consumed last, as far as they are loaded.
    fn hand_out_run<R: Into<Flow>>(
        &mut self,
        outlet: &mut Outlet,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Flow {
        let Lane { track, origin, offset_end, time_end_ns, .. } = self;
        let (origin, offset_end, time_end_ns) = (*origin, *offset_end, *time_end_ns);
        let is_over =
            |raw: &RawMessage<'_>| raw.offset >= offset_end || raw.timestamp_ns >= time_end_ns;
        let mut flow = Flow::Next;
        if outlet.pace.is_some() || outlet.filter.is_some() {
            track.each_message(usize::MAX, |raw| {
                if is_over(&raw) {
                    return ControlFlow::Break(false);
                }
                flow = outlet.hand_out(Event::Message(Message::new(origin, raw)), handler);
                consumed(flow)
            });
            return flow;
        }
        // Counted where nobody else can look: the counters of the outlet may change with every call
        // of what a user gave.
        let left = outlet.count_max - outlet.counters.messages;
        let mut payload_bytes = 0;
        let (messages, _) = track.each_message(left.try_into().unwrap_or(usize::MAX), |raw| {
            if is_over(&raw) {
                return ControlFlow::Break(false);
            }
            let bytes = raw.payload.len() as u64;
            flow = handler(Event::Message(Message::new(origin, raw))).into();
            payload_bytes += if flow == Flow::Retry { 0 } else { bytes };
            consumed(flow)
        });
        outlet.counters.messages += messages as u64;
        outlet.counters.payload_bytes += payload_bytes;
        flow
    }
}

impl Outlet {
    /// Hands out one event, when it is due and wanted.
    fn hand_out<R: Into<Flow>>(
        &mut self,
        event: Event<'_>,
        handler: &mut impl FnMut(Event<'_>) -> R,
    ) -> Flow {
        let Outlet { pace, filter, count_max, watch, counters } = self;
        let Event::Message(message) = event else { return handler(event).into() };
        if let Some(Filter(filter)) = filter
            && !filter(message.payload)
        {
            return Flow::Next;
        }
        if let Some(pace) = pace
            && pace.wait(message.timestamp_ns, || (watch.0)(counters)).is_break()
        {
            return Flow::Stop;
        }
        let payload_bytes = message.payload.len() as u64;
        let flow = handler(event).into();
        if flow != Flow::Retry {
            counters.messages += 1;
            counters.payload_bytes += payload_bytes;
        }
        if counters.messages >= *count_max { Flow::Stop } else { flow }
    }
}

/// Whether the message that a handler has just had is consumed, and another one wanted.
fn consumed(flow: Flow) -> ControlFlow<bool> {
    match flow {
        Flow::Next => ControlFlow::Continue(()),
        Flow::Stop => ControlFlow::Break(true),
        Flow::Retry => ControlFlow::Break(false),
    }
}

fn io_error(source: io::Error, path: &Path, origin: Origin, position: u64) -> ReplayError {
    let (path, partition) = (path.to_owned(), origin.partition);
    JournalError::Io { path, partition, position, source }.into()
}
