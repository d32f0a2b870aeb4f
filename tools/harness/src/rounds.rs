//! Blocks are interleaved here: each round measures the bare hand-off, every step once, and the
//! hand-off again, so that whatever the host does in between, it does to all alike.
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::session::Session;
use crate::statistics::{Samples, same_regime};
use crate::step::{self, Found, Planned, Times, fastest};
use crate::task::Task;

/// Round trips of the hand-off in a block.
const HANDOFF_SAMPLES: u64 = 10_000;
/// Both sides on one core take turns by the scheduler, some hundred times slower.
const OVERSUBSCRIBED_SHARE: u64 = 50;
/// Rounds that do not count.
const WARM_UP_ROUNDS: usize = 3;

/// One round.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// The bare hand-off before the steps.
    pub(crate) opening: Times,
    /// One block for each step.
    pub(crate) blocks: Vec<Found>,
    /// The bare hand-off after the steps: how well the yardstick repeats.
    pub(crate) closing: Times,
    /// Whether the host stayed in one regime throughout.
    pub(crate) settled: bool,
    /// What each of the two cores was kept from.
    #[serde(skip)]
    pub(crate) hiccups: [Samples; 2],
}

impl Round {
    /// The median of the opening hand-off in ns.
    pub(crate) fn handoff_ns(&self) -> f64 {
        self.opening.p50_ns.unwrap_or(f64::NAN)
    }
}

/// A block of the bare hand-off.
///
/// # Errors
/// When a side fails.
pub(crate) fn handoff(session: &mut Session) -> Result<Times> {
    let share = if session.cores.oversubscribed() { OVERSUBSCRIBED_SHARE } else { 1 };
    let clock = session.clock;
    fastest(&clock, |polling| {
        session.bare_block(Task::RoundTrips { polling }, HANDOFF_SAMPLES / share)
    })
}

/// Three rounds that do not count. They tell how long blocks are, which ways to wait are the
/// fastest, and how far a sweep of rates goes: to the first that was not kept up in any.
fn warm_up(session: &mut Session, plan: &mut Vec<Planned>) -> Result<()> {
    let mut keeps_up = vec![false; plan.len()];
    for round in 0..WARM_UP_ROUNDS {
        handoff(session)?;
        for (planned, keeps_up) in plan.iter_mut().zip(&mut keeps_up) {
            session.interrupt.check()?;
            let found = planned.block(session)?;
            planned.adjust(&found);
            if round + 1 == WARM_UP_ROUNDS {
                planned.settle(&found);
            }
            *keeps_up |= planned.keeps_up(&found);
        }
    }
    let too_much = plan.iter().zip(keeps_up).filter(|(_, keeps_up)| !keeps_up);
    let too_much: Vec<Planned> = too_much.map(|(planned, _)| planned.clone()).collect();
    plan.retain(|planned| {
        !planned.sweeps || !too_much.iter().any(|other| planned.is_beyond(other))
    });
    Ok(())
}

/// Runs rounds for `duration` after those that only warm up. Each
/// round begins with another step.
///
/// # Errors
/// When a block fails, or the user wants an end.
pub(crate) fn interleave(
    session: &mut Session,
    plan: &mut Vec<Planned>,
    duration: Duration,
) -> Result<Vec<Round>> {
    warm_up(session, plan)?;
    let mut rounds = Vec::new();
    let start = Instant::now();
    for first in 0.. {
        let opening = handoff(session)?;
        let mut blocks: Vec<Option<Found>> = plan.iter().map(|_| None).collect();
        for at in (0..plan.len()).map(|next| (first + next) % plan.len()) {
            session.interrupt.check()?;
            blocks[at] = Some(plan[at].block(session)?);
        }
        let hiccups = step::hiccups(session)?;
        let closing = handoff(session)?;
        let both_ns = opening.p50_ns.zip(closing.p50_ns);
        let settled = both_ns.is_some_and(|(one_ns, other_ns)| same_regime(one_ns, other_ns));
        let blocks = blocks.into_iter().flatten().collect();
        rounds.push(Round { opening, blocks, closing, settled, hiccups });
        if start.elapsed() >= duration {
            break;
        }
    }
    Ok(rounds)
}
