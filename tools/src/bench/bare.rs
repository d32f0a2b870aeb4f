//! The bare hand-off by itself, between two threads of this process: what others print beside their
//! own figures.
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};
use std::time::Duration;

use anyhow::{Context, Result};

use super::block::{Clock, Contender, Latency, RoundTripper};
use super::cores::{self, Cores};
use super::handoff::{self, HandOff};
use super::peer::{Counterpart, Far};
use super::rounds::{Yardstick, interleave};
use super::shared::Line;
use super::spin::BlockError;
use super::{BLOCK_SAMPLES, OVERSUBSCRIBED_SHARE};
use crate::interrupt::Interrupt;

/// How long it is measured, not counting a first round that only warms up.
const DURATION: Duration = Duration::from_millis(200);

/// The round trips of the round whose median is the median of all rounds, between the first two
/// cores that this process may use.
///
/// # Errors
/// When a side cannot be pinned to its core, or is kept from it for seconds, or the user wants an
/// end.
pub(crate) fn bare_handoff(interrupt: &Interrupt) -> Result<Latency> {
    // A thread of its own: the caller stays free to run on any core.
    thread::scope(|scope| scope.spawn(|| measure(interrupt)).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure(interrupt: &Interrupt) -> Result<Latency> {
    let cores = Cores::choose()?;
    cores::pin(cores.near)?;
    let clock = Clock::measure()?;
    let share = if cores.oversubscribed() { OVERSUBSCRIBED_SHARE } else { 1 };
    let lines: [Line; handoff::LINES] = Default::default();
    let mut rounds = thread::scope(|scope| {
        let variants = vec![
            contender::<0>(scope, "bare hand-off", &lines, cores.far),
            contender::<1>(scope, "bare hand-off, pausing", &lines, cores.far),
        ];
        let mut yardstick = Yardstick { variants, samples: BLOCK_SAMPLES / share, clock };
        interleave(DURATION, interrupt, &mut yardstick, 0, |_| Ok(()))
    })?;
    rounds.sort_by(|one, other| one.handoff_ns.total_cmp(&other.handoff_ns));
    let middle = rounds.get(rounds.len() / 2).context("no round of the hand-off was finished")?;
    Ok(middle.opening)
}

fn contender<'scope, const PAUSES: u32>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    lines: &'scope [Line; handoff::LINES],
    far_core: usize,
) -> RoundTripper<'scope> {
    let (counts, orders) = mpsc::channel();
    let (results, finished) = mpsc::channel();
    scope.spawn(move || {
        let pinned = cores::pin(far_core);
        let mut far = HandOff::<PAUSES>::new(lines);
        for count in orders {
            let result = match &pinned {
                Ok(()) => far.block(count),
                Err(_) => Err(BlockError::Stalled.into()),
            };
            if results.send(result).is_err() {
                break;
            }
        }
    });
    let far = FarThread { counts, finished };
    Contender { name, near: Box::new(HandOff::<PAUSES>::new(lines)), far: Box::new(far) }
}

/// A far half in a thread, which sleeps between blocks and ends when this is dropped.
struct FarThread {
    counts: Sender<u64>,
    finished: Receiver<Result<()>>,
}

impl Counterpart for FarThread {
    fn start(&mut self, count: u64) -> Result<()> {
        self.counts.send(count).context("the far thread has ended")
    }

    fn finish(&mut self) -> Result<()> {
        self.finished.recv().context("the far thread has ended")?.context("the far thread")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_and_the_threads_end() {
        let latency = bare_handoff(&Interrupt::default()).unwrap();
        assert!(latency.samples > 0 && latency.p50_ns.is_some(), "{latency:?}");
    }
}
