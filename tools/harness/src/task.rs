//! What the two sides do in a block. The near side orders the far side to do its part.
use std::hint::spin_loop;

use serde::{Deserialize, Serialize};
use tickcast::runtime::{Idle, IdleStrategy};

use crate::statistics::Samples;

/// What is done with a contender in one block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Round trips, one by one.
    RoundTrips {
        /// What both sides do between polls.
        polling: Polling,
    },
    /// Round trips that begin by a schedule, whatever became of those before.
    PacedRoundTrips {
        /// From one message to the next, in ticks of the clock.
        period_ticks: f64,
    },
    /// Messages by a schedule, timed where they arrive.
    OneWay {
        /// From one message to the next, in ticks of the clock.
        period_ticks: f64,
    },
    /// As many messages as possible in one direction.
    Stream {
        /// How many are handed over at once.
        batch: usize,
        /// What the receiving side does between polls.
        waiting: Waiting,
    },
    /// Nothing: both sides look for how long they are kept from it. `count` is in ns.
    Hiccups,
    /// The two cores tell each other what time it is.
    Offset,
    /// Bursts of messages to many subscribers.
    Bursts {
        /// Messages of a burst, fewer than the ring holds.
        messages: u64,
        /// Whether no subscriber polls before all of them are published.
        afterwards: bool,
    },
}

/// What is between two polls of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Polling {
    /// [`CLOSE`](crate::spin::CLOSE).
    Close,
    /// [`PAUSING`](crate::spin::PAUSING).
    Pausing,
    /// [`PAUSING_TWICE`](crate::spin::PAUSING_TWICE).
    PausingTwice,
    /// [`PAUSING_FOUR_TIMES`](crate::spin::PAUSING_FOUR_TIMES).
    PausingFourTimes,
    /// [`SPACED`](crate::spin::SPACED).
    Spaced,
}

impl Polling {
    /// All that are tried.
    pub(crate) const ALL: [Self; 5] =
        [Self::Close, Self::Pausing, Self::PausingTwice, Self::PausingFourTimes, Self::Spaced];

    /// As it stands in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Close => "close polls",
            Self::Pausing => "pausing",
            Self::PausingTwice => "pausing twice",
            Self::PausingFourTimes => "pausing four times",
            Self::Spaced => "spaced polls",
        }
    }
}

/// Runs `$body` with the constant `$gap` set to the gap of a [`Polling`].
macro_rules! with_gap {
    ($polling:expr, $gap:ident => $body:expr) => {
        match $polling {
            $crate::task::Polling::Close => {
                const $gap: u32 = $crate::spin::CLOSE;
                $body
            }
            $crate::task::Polling::Pausing => {
                const $gap: u32 = $crate::spin::PAUSING;
                $body
            }
            $crate::task::Polling::PausingTwice => {
                const $gap: u32 = $crate::spin::PAUSING_TWICE;
                $body
            }
            $crate::task::Polling::PausingFourTimes => {
                const $gap: u32 = $crate::spin::PAUSING_FOUR_TIMES;
                $body
            }
            $crate::task::Polling::Spaced => {
                const $gap: u32 = $crate::spin::SPACED;
                $body
            }
        }
    };
}
pub(crate) use with_gap;

/// An order to the far side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which of the contenders that this side serves.
    pub contender: usize,
    /// What to do with it.
    pub task: Task,
    /// How often.
    pub count: u64,
}

/// What the far side found in a block.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// What it timed.
    pub samples: Samples,
    /// What each subscriber of a crowd timed.
    pub each: Vec<Samples>,
    /// When it had the last message of a schedule, in ticks.
    pub last: u64,
    /// Messages that it was told to have missed.
    pub lost: u64,
    /// Messages that came before they were sent, by the two cores' clocks.
    pub negative: u64,
    /// How often it had to leave its core to another program.
    pub preemptions: u64,
}

/// What a reader of streams does between polls. Which of them is the fastest differs from transport
/// to transport, so all are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Waiting {
    /// It polls again at once.
    Spin,
    /// It pauses whenever it has caught up, after each poll that found less than it asked for: this
    /// many pause instructions. Many make batches, so that it does not fight for the line that is
    /// being written.
    Pause(u32),
    /// It pauses as [`IdleStrategy::SpinPause`] does, also after polls that found little.
    Adapt,
}

impl Waiting {
    /// All that are tried.
    pub(crate) const ALL: [Self; 5] =
        [Self::Spin, Self::Pause(1), Self::Pause(32), Self::Pause(128), Self::Adapt];

    pub(crate) fn begin(self) -> Waiter {
        Waiter { waiting: self, idle: Idle::new(IdleStrategy::SpinPause) }
    }
}

/// A [`Waiting`] at work.
pub(crate) struct Waiter {
    waiting: Waiting,
    idle: Idle,
}

impl Waiter {
    /// What follows a poll that found `polled` of at most `limit` messages.
    #[inline(always)]
    pub(crate) fn polled(&mut self, polled: usize, limit: usize) {
        match self.waiting {
            Waiting::Spin => {}
            Waiting::Pause(pauses) if polled < limit => (0..pauses).for_each(|_| spin_loop()),
            Waiting::Pause(_) => {}
            Waiting::Adapt => self.idle.polled(polled, limit),
        }
    }
}
