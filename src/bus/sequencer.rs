//! The sequencer: merges partitions into one totally ordered topic, and goes on after a kill as if
//! nothing had happened.
//!
//! Before each batch it writes a control frame that says where every input stood and what follows.
//! A successor finds the newest such frame, counts the offsets behind it, says in a frame of its
//! own what is left, and writes that.

mod control;

use std::collections::VecDeque;

use thiserror::Error;

use self::control::{INPUTS_MAX, Run, State, inputs_id, last_state};
use crate::bus::message::{Event, Flow, LossCause, Notice, NoticeKind};
use crate::bus::publish_error::{PublishError, PublisherError};
use crate::bus::publisher::Publisher;
use crate::bus::subscribe::SubscribeError;
use crate::bus::subscriber::Subscriber;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::log::block::BLOCK_BYTES;
use crate::log::lane::StartAt;
use crate::runtime::Agent;

/// Merges all partitions of its input topics into partition 0 of its output topic, in order of
/// arrival, with their timestamps. Every subscriber of the output sees the same total order.
///
/// It is an [`Agent`]: give it to a [`Core`](crate::runtime::Core), or call
/// [`poll`](Agent::poll). What an input has lost becomes a gap of the same length in the output.
/// When it is killed, a new one goes on: nothing is lost or written twice, as long as the inputs'
/// rings still hold what it had not read.
///
/// # Examples
/// ```no_run
/// use tickcast::{Bus, Sequencer, runtime::{Core, IdleStrategy}};
///
/// let bus = Bus::open("md")?;
/// let (trades, quotes) = (bus.open_topic("trades")?, bus.open_topic("quotes")?);
/// let ordered = bus.topic("ordered").open_or_create()?;
/// let sequencer = Sequencer::new(&[&trades, &quotes], &ordered)?;
/// let core = Core::builder("sequencer")
///     .idle(IdleStrategy::back_off())
///     .agent(Box::new(sequencer))
///     .start()?;
/// # core.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sequencer {
    inputs: Vec<Input>,
    inputs_id: u64,
    output: Publisher,
    /// The rest of the batch.
    runs: VecDeque<Run>,
    /// Whether a control frame that this sequencer wrote announces `runs`. A predecessor's does not
    /// count: a train that is cut off leaves its blocks behind, and after some deaths in one long
    /// message the ring would hold nothing else.
    is_announced: bool,
    /// Input that is looked at first.
    first: usize,
    control: Vec<u8>,
    name: String,
    failure: Option<SequencerError>,
}

#[derive(Debug)]
struct Input {
    subscriber: Subscriber,
    /// Offset of the next message to write.
    next: u64,
    /// Offsets up to this one are missing.
    gap: Option<(u64, LossCause)>,
}

impl Sequencer {
    /// Becomes the publisher of `output`'s partition 0 and a reliable subscriber of all `inputs`.
    ///
    /// A new output starts with the earliest messages that the inputs' rings hold; one that a
    /// sequencer of the same inputs, in the same order, has written before is continued.
    ///
    /// # Errors
    /// [`SequencerError`].
    pub fn new(inputs: &[&Topic], output: &Topic) -> Result<Sequencer, SequencerError> {
        let places: Vec<(&Topic, u32)> = inputs
            .iter()
            .flat_map(|topic| (0..topic.partitions()).map(|partition| (*topic, partition)))
            .collect();
        if places.is_empty() || places.len() > INPUTS_MAX {
            return Err(SequencerError::Inputs { count: places.len() });
        }
        for topic in inputs {
            let (input_bytes, output_bytes) =
                (topic.message_bytes_max(), output.message_bytes_max());
            if input_bytes > output_bytes {
                let topic = topic.name().to_owned();
                return Err(SequencerError::OutputTooSmall { topic, input_bytes, output_bytes });
            }
        }
        let inputs_id = inputs_id(&places);
        let publisher = output.publisher(0)?;
        let (next, mut runs) = match last_state(output)? {
            Some((behind, payload)) => {
                let written = publisher.next_offset().wrapping_sub(behind);
                State::decode(&payload, inputs_id, places.len())
                    .and_then(|state| state.after(written))
                    .ok_or(SequencerError::ForeignOutput)?
            }
            None if publisher.next_offset() == 0 => {
                let mut next = Vec::with_capacity(places.len());
                for (topic, partition) in &places {
                    next.push(topic.stat()?.partitions[*partition as usize].earliest_offset);
                }
                (next, VecDeque::new())
            }
            None => return Err(SequencerError::ForeignOutput),
        };
        let mut opened = Vec::with_capacity(places.len());
        for ((topic, partition), next) in places.iter().zip(next) {
            let subscriber = topic
                .subscribe()
                .partition(*partition)
                .reliable()
                .start_at(StartAt::Offset(next))
                .open()?;
            opened.push(Input { subscriber, next, gap: None });
        }
        // A batch has one run of each input at most.
        runs.reserve(places.len());
        Ok(Sequencer {
            inputs: opened,
            inputs_id,
            output: publisher,
            runs,
            is_announced: false,
            first: 0,
            control: Vec::with_capacity(control::bytes_max(places.len())),
            name: format!("sequencer of {}", output.name()),
            failure: None,
        })
    }

    /// Why it does no more, once that is so.
    pub fn failure(&self) -> Option<&SequencerError> {
        self.failure.as_ref()
    }

    /// Offset in the output that the next message gets.
    pub fn next_offset(&self) -> u64 {
        self.output.next_offset()
    }

    fn step(&mut self) -> Result<usize, SequencerError> {
        if self.runs.is_empty() {
            self.is_announced = false;
            self.plan()?;
        }
        if self.runs.is_empty() || !self.is_announced && !self.announce()? {
            return Ok(0);
        }
        let mut count = 0;
        while let Some(run) = self.runs.front_mut() {
            let written = write(run, &mut self.inputs[run.input], &mut self.output)?;
            count += written as usize;
            run.first += written;
            run.count -= written;
            if run.count > 0 {
                // The output is full, or the input's messages are still being published.
                break;
            }
            self.runs.pop_front();
        }
        Ok(count)
    }

    /// Looks what the inputs have, and makes a batch of it.
    fn plan(&mut self) -> Result<(), SequencerError> {
        let inputs = self.inputs.len();
        // Together so little that the ring holds the newest control frame and all that follows it:
        // one message may take a quarter of the ring, and some blocks more.
        let mut bytes_left = self.output.topic().ring_bytes() / 4;
        for turn in 0..inputs {
            let index = (self.first + turn) % inputs;
            let input = &mut self.inputs[index];
            let (mut count, mut bytes) = input.available(bytes_left)?;
            if count == 0 && self.runs.is_empty() {
                // A single message that is larger than that makes a batch of its own.
                (count, bytes) = input.available(u64::MAX)?;
                count = count.min(1);
            }
            if count > 0 {
                self.runs.push_back(Run { input: index, first: input.next, count });
                bytes_left = bytes_left.saturating_sub(bytes);
            }
        }
        if !self.runs.is_empty() {
            self.first = (self.first + 1) % inputs;
        }
        Ok(())
    }

    /// Writes the control frame for the batch. False when there is no room.
    fn announce(&mut self) -> Result<bool, SequencerError> {
        let next = self.inputs.iter().map(|input| input.next);
        control::encode(&mut self.control, self.inputs_id, next, &self.runs);
        match self.output.try_publish_control(0, &self.control) {
            Ok(()) => self.is_announced = true,
            Err(PublishError::Full(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.is_announced)
    }
}

impl Agent for Sequencer {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(&mut self) -> usize {
        if self.failure.is_some() {
            return 0;
        }
        self.step().unwrap_or_else(|error| {
            log::error!("the {} stops: {error}", self.name);
            self.failure = Some(error);
            0
        })
    }
}

impl Input {
    /// How many offsets can be written now into `bytes_max` of log, and how much they take.
    fn available(&mut self, bytes_max: u64) -> Result<(u64, u64), SequencerError> {
        if self.gap.is_none() {
            match self.subscriber.available(bytes_max) {
                Ok(available) => return Ok(available),
                Err(notice) => self.note(notice)?,
            }
        }
        // A gap frame takes a line, and a long one the rest of its block.
        Ok(self.gap.map_or((0, 0), |(to, _)| (to - self.next + 1, BLOCK_BYTES)))
    }

    fn note(&mut self, notice: Notice) -> Result<(), SequencerError> {
        match notice.kind {
            NoticeKind::Lost { to, cause, .. } => self.gap = Some((to, cause)),
            kind if kind.is_final() => return Err(SequencerError::Input(notice)),
            // Whoever publishes to an input, its messages come in order.
            _ => {}
        }
        Ok(())
    }
}

/// Writes as much of `run` as is there and fits; returns how many offsets that is.
fn write(run: &Run, input: &mut Input, output: &mut Publisher) -> Result<u64, SequencerError> {
    let mut written = 0;
    while written < run.count {
        if let Some((to, cause)) = input.gap {
            let count = (to - input.next + 1).min(run.count - written);
            match output.try_publish_gap(0, output.next_offset() + count - 1, cause) {
                Ok(()) => {}
                Err(PublishError::Full(_)) => return Ok(written),
                Err(error) => return Err(error.into()),
            }
            input.next += count;
            written += count;
            input.gap = input.gap.filter(|(to, _)| *to >= input.next);
            continue;
        }
        let mut failed = None;
        let mut noticed = None;
        let mut messages = 0;
        input.subscriber.poll((run.count - written) as usize, |event| match event {
            Event::Message(message) => {
                match output.try_publish(message.timestamp_ns, message.payload) {
                    Ok(_) => {
                        messages += 1;
                        Flow::Next
                    }
                    Err(error) => {
                        failed = Some(error);
                        Flow::Retry
                    }
                }
            }
            Event::Notice(notice) => {
                noticed = Some(notice);
                Flow::Stop
            }
        });
        input.next += messages;
        written += messages;
        match failed {
            Some(PublishError::Full(_)) => return Ok(written),
            Some(error) => return Err(error.into()),
            None => {}
        }
        match noticed {
            Some(notice) => input.note(notice)?,
            None if messages == 0 => return Ok(written),
            None => {}
        }
    }
    Ok(written)
}

/// Why a sequencer cannot start, or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SequencerError {
    /// No input, or more than one control frame can list.
    #[error("a sequencer cannot have {count} inputs: give it 1 to 1024 partitions")]
    Inputs {
        /// How many it was given.
        count: usize,
    },
    /// The output could not hold every message of an input.
    #[error(
        "topic {topic} may have messages of {input_bytes} bytes and the output of {output_bytes} \
         only: create the output with a ring at least as large"
    )]
    OutputTooSmall {
        /// The input.
        topic: String,
        /// Its largest message.
        input_bytes: u64,
        /// The output's largest message.
        output_bytes: u64,
    },
    /// The output was not written by a sequencer of these inputs.
    #[error(
        "the output holds messages that no sequencer of these inputs, in this order, has written: \
         give the same inputs as before, or a new output"
    )]
    ForeignOutput,
    /// An input has come to an end.
    #[error("an input has ended: {0}")]
    Input(Notice),
    /// The output could not be opened.
    #[error(transparent)]
    Publisher(#[from] PublisherError),
    /// An input could not be opened.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The output could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A topic's files.
    #[error(transparent)]
    Topic(#[from] TopicError),
}
