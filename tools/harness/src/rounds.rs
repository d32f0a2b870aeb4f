//! Blocks are interleaved here: each round measures every step once, in another order each time,
//! with the bare hand-off before each and after the last. So whatever the host does, it does to all
//! alike, and each block has its yardstick on both sides.
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::hiccups::Hiccups;
use crate::random::Random;
use crate::session::{Failed, Session};
use crate::statistics::{Spread, same_regime};
use crate::step::{self, Found, Planned, Times, fastest};
use crate::task::{Polling, Task};

/// Round trips of the hand-off in a block.
const HANDOFF_SAMPLES: u64 = 10_000;
/// Both sides on one core take turns by the scheduler, some hundred times slower.
const OVERSUBSCRIBED_SHARE: u64 = 50;
/// Rounds that do not count.
const WARM_UP_ROUNDS: usize = 3;
/// The hand-offs before and after a block differ by no more than this factor, or something has
/// happened meanwhile.
const HANDOFFS_FACTOR: f64 = 1.1;
/// Nobody is faster than the physical limit: where the ratio of a round trip to the hand-off is
/// below this, the yardstick is wrong.
const RATIO_MIN: f64 = 0.97;

/// One round.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// The steps in the order in which they ran.
    pub(crate) order: Vec<usize>,
    /// The bare hand-off before each of these, and after the last.
    pub(crate) handoffs: Vec<Times>,
    /// One block for each step.
    pub(crate) blocks: Vec<Block>,
    /// What each of the two cores was kept from.
    pub(crate) hiccups: [Hiccups; 2],
    /// How often a side had to leave its core to another program within a block.
    pub(crate) preemptions: u64,
}

/// What a step found, beside its yardstick.
#[derive(Debug, Serialize)]
pub(crate) struct Block {
    /// The bare hand-off, the mean of before and after.
    pub(crate) handoff: Handoff,
    pub(crate) verdict: Verdict,
    #[serde(flatten)]
    pub(crate) found: Found,
}

/// Whether a block counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Counts,
    /// The hand-offs around it differ, or are not those of the round: the host was at work.
    Unsettled,
    /// Its round trips are faster than bare hand-offs: it counts, but its ratio to them does not.
    BeatsTheLimit,
}

impl Block {
    /// What its times are set against: nothing, where that is no limit.
    pub(crate) fn yardstick(&self) -> Handoff {
        match self.verdict {
            Verdict::BeatsTheLimit => Handoff { p50_ns: None, p99_ns: None, p999_ns: None },
            Verdict::Counts | Verdict::Unsettled => self.handoff,
        }
    }
}

/// Percentiles of the bare hand-off beside a block, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Handoff {
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) p999_ns: Option<f64>,
}

impl Handoff {
    /// Of one of them.
    pub(crate) fn of(times: &Times) -> Self {
        Self::mean_of(times, times)
    }

    /// p50, p99, p99.9.
    pub(crate) fn percentiles_ns(&self) -> [Option<f64>; 3] {
        [self.p50_ns, self.p99_ns, self.p999_ns]
    }

    fn mean_of(one: &Times, other: &Times) -> Self {
        let mean = |of: fn(&Times) -> Option<f64>| Some(of(one)?.midpoint(of(other)?));
        Self {
            p50_ns: mean(|times| times.p50_ns),
            p99_ns: mean(|times| times.p99_ns),
            p999_ns: mean(|times| times.p999_ns),
        }
    }
}

impl Verdict {
    /// Of a block between two hand-offs, in a round with this median of them.
    fn of(found: &Found, before: &Times, after: &Times, round_ns: f64) -> Self {
        let Some((before_ns, after_ns)) = before.p50_ns.zip(after.p50_ns) else {
            return Self::Unsettled;
        };
        let mean_ns = before_ns.midpoint(after_ns);
        let differ = before_ns.max(after_ns) / before_ns.min(after_ns);
        if differ > HANDOFFS_FACTOR || !same_regime(mean_ns, round_ns) {
            return Self::Unsettled;
        }
        match found {
            Found::Times(times) if times.p50_ns.is_some_and(|ns| ns < RATIO_MIN * mean_ns) => {
                Self::BeatsTheLimit
            }
            _ => Self::Counts,
        }
    }
}

impl Round {
    fn new(
        order: Vec<usize>,
        handoffs: Vec<Times>,
        found: Vec<Found>,
        hiccups: [Hiccups; 2],
        preemptions: u64,
    ) -> Self {
        let round_ns = median_ns(&handoffs);
        let mut blocks: Vec<Option<Block>> = order.iter().map(|_| None).collect();
        for ((&at, around), found) in order.iter().zip(handoffs.windows(2)).zip(found) {
            let (before, after) = (&around[0], &around[1]);
            let handoff = Handoff::mean_of(before, after);
            let verdict = Verdict::of(&found, before, after, round_ns);
            blocks[at] = Some(Block { handoff, verdict, found });
        }
        let blocks = blocks.into_iter().flatten().collect();
        Self { order, handoffs, blocks, hiccups, preemptions }
    }

    /// Forgets what step `at` found, and the hand-off before it. What others were judged by is kept
    /// with their blocks.
    fn forget(&mut self, at: usize) {
        if let Some(turn) = self.order.iter().position(|&own| own == at) {
            self.order.remove(turn);
            self.handoffs.remove(turn);
            self.blocks.remove(at);
        }
        // Those behind it move up, as in the plan.
        self.order.iter_mut().filter(|own| **own > at).for_each(|own| *own -= 1);
    }

    /// The median of the hand-offs in ns.
    pub(crate) fn handoff_ns(&self) -> f64 {
        median_ns(&self.handoffs)
    }

    /// What step `at` found, if that counts.
    pub(crate) fn counted(&self, at: usize) -> Option<&Block> {
        Some(&self.blocks[at]).filter(|block| block.verdict != Verdict::Unsettled)
    }
}

fn median_ns(handoffs: &[Times]) -> f64 {
    let spread = Spread::of(handoffs.iter().filter_map(|times| times.p50_ns).collect());
    spread.map_or(f64::NAN, |spread| spread.median)
}

/// A block of the bare hand-off.
///
/// # Errors
/// When a side fails.
pub(crate) fn handoff(session: &mut Session) -> Result<Times> {
    let share = if session.cores.oversubscribed() { OVERSUBSCRIBED_SHARE } else { 1 };
    let clock = session.clock;
    fastest(&clock, &Polling::ALL, |polling| {
        session.bare_block(Task::RoundTrips { polling }, HANDOFF_SAMPLES / share)
    })
}

/// One round of all steps.
fn round(session: &mut Session, plan: &[Planned], random: &mut Random) -> Result<Round> {
    let preemptions = session.preemptions;
    let mut order: Vec<usize> = (0..plan.len()).collect();
    random.shuffle(&mut order);
    let mut handoffs = vec![handoff(session)?];
    let mut found = Vec::new();
    for &at in &order {
        session.interrupt.check()?;
        found.push(plan[at].block(session)?);
        handoffs.push(handoff(session)?);
    }
    let hiccups = step::hiccups(session)?;
    Ok(Round::new(order, handoffs, found, hiccups, session.preemptions - preemptions))
}

/// Adds one round of all steps to `rounds`. A peer that fails meanwhile is left out with all its
/// steps, of the rounds before, too, as if it had not been there; and the round begins anew.
///
/// # Errors
/// When what fails is no peer, or the user wants an end.
fn add_round(
    session: &mut Session,
    plan: &mut Vec<Planned>,
    random: &mut Random,
    rounds: &mut Vec<Round>,
) -> Result<()> {
    loop {
        match round(session, plan, random) {
            Ok(round) => {
                rounds.push(round);
                return Ok(());
            }
            Err(error) => {
                let Failed { entrant, left_out } = error.downcast()?;
                session.left_out.push(left_out);
                while let Some(at) = plan.iter().position(|planned| planned.entrant == entrant) {
                    plan.remove(at);
                    rounds.iter_mut().for_each(|round| round.forget(at));
                }
            }
        }
    }
}

/// Rounds that do not count. They tell how long blocks are, which ways to wait are the fastest, and
/// how far a sweep of rates goes: to the first that was not kept up in any.
fn warm_up(session: &mut Session, plan: &mut Vec<Planned>, random: &mut Random) -> Result<()> {
    let mut rounds: Vec<Round> = Vec::new();
    for _ in 0..WARM_UP_ROUNDS {
        add_round(session, plan, random, &mut rounds)?;
        let blocks = rounds.last().into_iter().flat_map(|round| &round.blocks);
        for (planned, block) in plan.iter_mut().zip(blocks) {
            planned.adjust(&block.found);
        }
    }
    let mut too_much = Vec::new();
    for (at, planned) in plan.iter_mut().enumerate() {
        let found = || rounds.iter().map(|round| &round.blocks[at].found);
        // The first block was only to tell how long one is.
        planned.settle(found().skip(1));
        if !found().any(|found| planned.keeps_up(found)) {
            too_much.push(planned.clone());
        }
    }
    plan.retain(|planned| {
        !planned.sweeps || !too_much.iter().any(|other| planned.is_beyond(other))
    });
    Ok(())
}

/// Runs rounds for `duration` after those that only warm up. In the end `plan` has the steps of
/// those who did not fail.
///
/// # Errors
/// When what fails is no peer, or the user wants an end.
pub(crate) fn interleave(
    session: &mut Session,
    plan: &mut Vec<Planned>,
    duration: Duration,
) -> Result<Vec<Round>> {
    let mut random = Random::new(0);
    warm_up(session, plan, &mut random)?;
    let mut rounds = Vec::new();
    let start = Instant::now();
    loop {
        add_round(session, plan, &mut random, &mut rounds)?;
        if start.elapsed() >= duration {
            return Ok(rounds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Source};
    use crate::statistics::Samples;

    fn times(ns: u64) -> Times {
        let mut clock = Clock::of(Source::Monotonic).unwrap();
        clock.cost_ns = 0.0;
        Times::of(Samples::from(vec![(ns, 1_000)]), &clock, "")
    }

    #[test]
    fn a_block_counts_by_the_hand_offs_around_it() {
        // Steps 2, 0, 1, 3 in this order, with the host at work during step 0.
        let handoffs = [100, 100, 140, 140, 140].map(times).to_vec();
        let found = [112, 150, 130, 151].map(|ns| Found::Times(times(ns))).to_vec();
        let order = vec![2, 0, 1, 3];
        let round = Round::new(order, handoffs, found, Default::default(), 0);
        let verdicts: Vec<Verdict> = round.blocks.iter().map(|block| block.verdict).collect();
        use Verdict::{BeatsTheLimit, Counts, Unsettled};
        assert_eq!(verdicts, [Unsettled, BeatsTheLimit, Counts, Counts]);
        let near = |found: Option<f64>, ns: f64| (found.unwrap() - ns).abs() < 0.1;
        assert!(near(round.blocks[0].handoff.p50_ns, 120.0));
        assert!(near(round.blocks[2].handoff.p50_ns, 100.0));
        assert!(round.counted(0).is_none() && round.counted(2).is_some());
        // It counts, but is not set against what it beats.
        assert_eq!(round.counted(1).unwrap().yardstick().p50_ns, None);
    }

    #[test]
    fn a_step_is_forgotten_with_its_hand_off_and_those_behind_it_move_up() {
        let handoffs = [100, 101, 102, 103].map(times).to_vec();
        let found = [130, 110, 120].map(|ns| Found::Times(times(ns))).to_vec();
        let mut round = Round::new(vec![2, 0, 1], handoffs, found, Default::default(), 0);
        let yardsticks = |round: &Round| {
            round.blocks.iter().map(|block| block.handoff.p50_ns).collect::<Vec<_>>()
        };
        let before = yardsticks(&round);
        round.forget(0);
        assert_eq!(round.order, [1, 0]);
        let handoffs: Vec<u64> = round.handoffs.iter().map(|times| times.whole.max_ns()).collect();
        assert_eq!(handoffs, [100, 102, 103]);
        assert_eq!(yardsticks(&round), before[1..]);
    }

    #[test]
    fn a_block_in_another_state_of_the_host_than_its_round_does_not_count() {
        let handoffs = [100, 100, 100, 400, 400].map(times).to_vec();
        let found = [120, 120, 120, 480].map(|ns| Found::Times(times(ns))).to_vec();
        let round = Round::new(vec![0, 1, 2, 3], handoffs, found, Default::default(), 0);
        let counted = [0, 1, 2, 3].map(|at| round.counted(at).is_some());
        assert_eq!(counted, [true, true, false, false]);
    }
}
