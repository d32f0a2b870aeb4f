//! The publisher of the demonstration: plays the tape by schedule, then as fast as it goes. Change
//! here how messages are sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tickcast::runtime::{Idle, IdleStrategy, clock};
use tickcast::{PublishError, Publisher};

use super::latency::{Distribution, Latencies};
use super::tape::Tape;
use crate::interrupt::Interrupt;

/// Messages a second while latency is measured.
pub(super) const RATE_PER_S: u64 = 20_000;
const INTERVAL_NS: u64 = 1_000_000_000 / RATE_PER_S;

/// From the order to play until the first message is due.
const LEAD_NS: u64 = 1_000_000;

/// Between the phases, for everybody to come to rest.
const REST: Duration = Duration::from_millis(100);

/// Messages that share a timestamp under flood, as those of one packet would.
const FLOOD_BURST: u64 = 64;

/// A publisher that is kept waiting for this long gives up.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Plays a tape into a topic.
pub(super) struct Player<'a> {
    pub(super) publisher: Publisher,
    pub(super) tape: &'a Tape,
    pub(super) idle: IdleStrategy,
    /// Messages sent so far, for others to look at.
    pub(super) sent: &'a AtomicU64,
    pub(super) interrupt: &'a Interrupt,
}

/// How the playing went.
pub(super) struct Performance {
    /// How late messages of the paced phase were sent.
    pub(super) lateness: Distribution,
    /// When the flood began, ns since the Unix epoch.
    pub(super) flood_ns: u64,
    /// How many messages were played in all: whole rounds of the tape.
    pub(super) messages: u64,
    /// Somebody set the clock by which latencies are taken.
    pub(super) clock_was_set: bool,
}

impl Player<'_> {
    /// Plays `paced` messages by schedule, then floods for `flood` and up to the tape's end.
    ///
    /// The publisher stays in place until the caller drops the player: to subscribers its going
    /// is worth a notice.
    ///
    /// # Errors
    /// When a subscriber stops reading, the bus is removed, or the user wants an end.
    pub(super) fn play(&mut self, paced: u64, flood: Duration) -> Result<Performance> {
        let watch = ClockWatch::start();
        let lateness = self.pace(paced)?;
        let clock_was_set = watch.was_set();
        thread::sleep(REST);
        let flood_ns = clock::now_ns();
        let messages = self.flood(paced, flood)?;
        Ok(Performance { lateness, flood_ns, messages, clock_was_set })
    }

    /// An open loop: each message is due at its time, whatever became of those before. It bears
    /// that time, so its latency counts the publisher's lateness, too.
    fn pace(&mut self, messages: u64) -> Result<Distribution> {
        let mut lateness = Latencies::default();
        let start_ns = clock::now_ns() + LEAD_NS;
        for offset in 0..messages {
            self.interrupt.check()?;
            let due_ns = start_ns + offset * INTERVAL_NS;
            lateness.record(self.wait_until(due_ns) - due_ns);
            self.send(due_ns, offset)?;
            self.sent.store(offset + 1, Ordering::Relaxed);
        }
        Ok(lateness.distribution())
    }

    /// Returns how many messages were sent, those `from` the phase before included.
    fn flood(&mut self, from: u64, duration: Duration) -> Result<u64> {
        let start = Instant::now();
        let mut offset = from;
        let mut end = None;
        while end.is_none_or(|end| offset < end) {
            self.interrupt.check()?;
            let timestamp_ns = clock::now_ns();
            let burst_end = (offset + FLOOD_BURST).min(end.unwrap_or(u64::MAX));
            while offset < burst_end {
                self.send(timestamp_ns, offset)?;
                offset += 1;
            }
            self.sent.store(offset, Ordering::Relaxed);
            if end.is_none() && start.elapsed() >= duration {
                end = Some(offset.next_multiple_of(self.tape.len()));
            }
        }
        Ok(offset)
    }

    /// Returns the time, which is not before `due_ns`.
    fn wait_until(&self, due_ns: u64) -> u64 {
        loop {
            let now_ns = clock::now_ns();
            if now_ns >= due_ns {
                return now_ns;
            }
            if self.idle != IdleStrategy::BusySpin {
                thread::sleep(Duration::from_nanos(due_ns - now_ns));
            }
        }
    }

    #[inline]
    fn send(&mut self, timestamp_ns: u64, offset: u64) -> Result<()> {
        match self.publisher.try_publish(timestamp_ns, self.tape.message(offset)) {
            Ok(_) => Ok(()),
            Err(error) => self.send_later(timestamp_ns, offset, error),
        }
    }

    #[cold]
    fn send_later(&mut self, timestamp_ns: u64, offset: u64, error: PublishError) -> Result<()> {
        let since = Instant::now();
        let mut idle = Idle::new(self.idle);
        let mut error = error;
        while matches!(error, PublishError::Full(_)) {
            if since.elapsed() > STALL_TIMEOUT {
                let seconds = STALL_TIMEOUT.as_secs();
                bail!("{error}, but has read nothing for {seconds} s: see whether it is stopped");
            }
            self.interrupt.check()?;
            idle.idle(0);
            match self.publisher.try_publish(timestamp_ns, self.tape.message(offset)) {
                Ok(_) => return Ok(()),
                Err(again) => error = again,
            }
        }
        bail!("cannot publish message {offset}: {error}")
    }
}

/// Notices when the time of day is set.
struct ClockWatch {
    start_ns: u64,
    start: Instant,
}

impl ClockWatch {
    /// More than this within seconds is no correction of the clock's speed.
    const SET: Duration = Duration::from_millis(20);

    fn start() -> Self {
        Self { start_ns: clock::now_ns(), start: Instant::now() }
    }

    fn was_set(&self) -> bool {
        let elapsed = Duration::from_nanos(clock::now_ns().saturating_sub(self.start_ns));
        self.start.elapsed().abs_diff(elapsed) > Self::SET
    }
}
