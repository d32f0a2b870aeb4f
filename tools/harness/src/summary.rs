//! A run in a few figures, of the regime with the most rounds.
use serde::{Serialize, Serializer};

use crate::clock::Clock;
use crate::contest;
use crate::goal::Outcome;
use crate::heading::Heading;
use crate::lateness::late;
use crate::message::Payload;
use crate::offset::Offset;
use crate::report::{Labelled, best_rate, own_times};
use crate::rounds::{Block, Round, Verdict};
use crate::statistics::Spread;
use crate::step::{Found, Step, Times};
use crate::transport::Place;
use crate::verdict::{BLOCKS_MIN, Standing};

/// A run in a few figures: medians over blocks.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) payload_bytes: Payload,
    pub(crate) rounds: usize,
    pub(crate) handoff_round_trip_ns: Percentiles,
    pub(crate) round_trip_ns: Percentiles,
    /// Of round trips to the hand-off of the same round.
    pub(crate) ratio: Percentiles,
    pub(crate) messages_per_s: Option<f64>,
    /// Cache lines a second that the bare stream moves at the same place.
    pub(crate) raw_lines_per_s: Option<f64>,
    /// Whether all that is above counts.
    pub(crate) valid: bool,
    pub(crate) invalid_because: Vec<String>,
    pub(crate) oversubscribed: bool,
    /// By name, in the order in which they were measured; where a peer was run with several
    /// payloads or places, those are part of the name.
    #[serde(serialize_with = "as_map")]
    pub(crate) peers: Vec<(String, PeerSummary)>,
    /// Whether tickcast is ahead of them.
    pub(crate) goals: Vec<Outcome>,
}

fn as_map<S: Serializer>(
    peers: &[(String, PeerSummary)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(peers.iter().map(|(name, peer)| (name, peer)))
}

/// What a peer showed, and how tickcast stands to it.
#[derive(Debug, Serialize)]
pub(crate) struct PeerSummary {
    pub(crate) contender: &'static str,
    pub(crate) place: Place,
    pub(crate) payload_bytes: Payload,
    pub(crate) handoff_round_trip_ns: Percentiles,
    pub(crate) round_trip_ns: Percentiles,
    pub(crate) ratio: Percentiles,
    pub(crate) messages_per_s: Option<f64>,
    pub(crate) raw_lines_per_s: Option<f64>,
    pub(crate) valid: bool,
    /// By how many times tickcast is better in the same rounds, with the quartiles, and what that
    /// makes it.
    pub(crate) tickcast: Versus,
}

/// Medians of percentiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
}

/// How tickcast stands to a peer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Versus {
    pub(crate) p50: Option<Compared>,
    pub(crate) p99: Option<Compared>,
    pub(crate) p999: Option<Compared>,
    pub(crate) messages_per_s: Option<Compared>,
}

/// One comparison.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Compared {
    pub(crate) times_better: Spread,
    pub(crate) standing: Standing,
}

impl Compared {
    pub(crate) fn of(times_better: Vec<f64>) -> Option<Self> {
        let times_better = Spread::of(times_better)?;
        Some(Self { times_better, standing: Standing::of(&times_better) })
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    Spread::of(values.collect()).map(|spread| spread.median)
}

impl Percentiles {
    /// Medians of p50, p99 and p99.9 over blocks.
    fn medians(blocks: &[[Option<f64>; 3]]) -> Self {
        let of = |at: usize| median(blocks.iter().filter_map(|block| block[at]));
        Self { p50: of(0), p99: of(1), p999: of(2) }
    }
}

/// The round trips of a step, with their hand-offs, in each round in which they count.
struct RoundTrips<'a>(Vec<(&'a Round, &'a Block, &'a Times)>);

impl<'a> RoundTrips<'a> {
    /// Of the first step that `is` it.
    fn of(steps: &[Labelled], rounds: &[&'a Round], is: impl Fn(&Labelled) -> bool) -> Self {
        let at = steps.iter().position(|step| step.step == Step::RoundTrips && is(step));
        let of = |round: &&'a Round| match round.counted(at?)? {
            block @ Block { found: Found::Times(times), .. } => Some((*round, block, times)),
            _ => None,
        };
        Self(rounds.iter().filter_map(of).collect())
    }

    fn handoff_ns(&self) -> Percentiles {
        let all: Vec<_> =
            self.0.iter().map(|(_, block, _)| block.handoff.percentiles_ns()).collect();
        Percentiles::medians(&all)
    }

    fn ns(&self) -> Percentiles {
        let all: Vec<_> = self.0.iter().map(|(_, _, times)| times.percentiles_ns()).collect();
        Percentiles::medians(&all)
    }

    /// To the hand-offs beside them.
    fn ratio(&self) -> Percentiles {
        let of = |(_, block, times): &(&Round, &Block, &Times)| {
            ratios(times.percentiles_ns(), block.yardstick().percentiles_ns())
        };
        Percentiles::medians(&self.0.iter().map(of).collect::<Vec<_>>())
    }
}

fn ratios(ones: [Option<f64>; 3], others: [Option<f64>; 3]) -> [Option<f64>; 3] {
    std::array::from_fn(|at| Some(ones[at]? / others[at]?))
}

impl Summary {
    pub(crate) fn of(
        heading: &Heading,
        offset: Offset,
        steps: &[Labelled],
        rounds: &[&Round],
    ) -> Self {
        let first = steps.iter().find(|step| step.is_tickcast());
        let payload = first.map_or(Payload::TICK, |first| first.payload_bytes);
        let is_own = |step: &Labelled| first.is_some_and(|first| first.is_of(step));
        let round_trips = RoundTrips::of(steps, rounds, is_own);
        let rate = |who: &dyn Fn(&Labelled) -> bool| {
            median(rounds.iter().filter_map(|round| best_rate(steps, round, who)))
        };
        let lines = |payload: Payload| (payload.bytes() + 16).div_ceil(64) as f64;
        let raw_lines_per_s =
            |of: &Labelled| Some(rate(&|step| step.is_yardstick_of(of))? * lines(of.payload_bytes));
        let mut invalid_because = Vec::new();
        let mut invalid_if = |is: bool, why: &str| {
            if is {
                invalid_because.push(why.to_owned());
            }
        };
        invalid_if(
            first.is_some() && round_trips.0.len() < BLOCKS_MIN,
            "fewer than 5 blocks of tickcast's round trips count; take more seconds",
        );
        invalid_if(heading.oversubscribed, "both sides share one core");
        invalid_if(!Clock::is_steady(heading.drift_ppm), "the clock's rate moved during the run");
        invalid_if(
            !offset.is_none(&heading.clock) && steps.iter().any(Labelled::is_one_way),
            "the clocks of the two cores disagree, so times in one direction mean nothing",
        );
        invalid_if(
            is_negative(steps, rounds),
            "messages were there before they were sent, by the clocks of the two cores",
        );
        invalid_if(
            beats_the_limit(steps, rounds),
            "most round trips of a contender beat the bare hand-off, so the yardstick is wrong",
        );
        let late = late(steps, rounds);
        invalid_if(
            !late.is_empty(),
            &format!(
                "the generator sent more than 1 % of its messages over 1 us late: {}",
                late.join("; ")
            ),
        );
        let peer = |(name, step): (String, &Labelled)| {
            (name, PeerSummary::of(step, steps, rounds, &rate, raw_lines_per_s))
        };
        let peers: Vec<_> = peer_names(steps).into_iter().map(peer).collect();
        let goals = contest::goals(steps, &peers);
        Self {
            payload_bytes: payload,
            rounds: rounds.len(),
            handoff_round_trip_ns: round_trips.handoff_ns(),
            round_trip_ns: round_trips.ns(),
            ratio: round_trips.ratio(),
            messages_per_s: rate(&is_own),
            raw_lines_per_s: first.and_then(raw_lines_per_s),
            valid: invalid_because.is_empty(),
            invalid_because,
            oversubscribed: heading.oversubscribed,
            peers,
            goals,
        }
    }
}

impl Labelled {
    fn is_one_way(&self) -> bool {
        matches!(self.step, Step::OneWay { .. })
    }

    /// Whether both are of the same contender, place and payload.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        (self.contender, self.place, self.payload_bytes)
            == (other.contender, other.place, other.payload_bytes)
    }
}

/// Whether any message came before it was sent.
fn is_negative(steps: &[Labelled], rounds: &[&Round]) -> bool {
    let mut blocks =
        (0..steps.len()).flat_map(|at| rounds.iter().filter_map(move |round| round.counted(at)));
    blocks.any(|block| matches!(&block.found, Found::OpenLoop(found) if found.negative > 0))
}

/// Whether most blocks of a contender are faster than what is taken for the limit.
fn beats_the_limit(steps: &[Labelled], rounds: &[&Round]) -> bool {
    (0..steps.len()).any(|at| {
        let of =
            |verdict| rounds.iter().filter(|round| round.blocks[at].verdict == verdict).count();
        of(Verdict::BeatsTheLimit) > of(Verdict::Counts)
    })
}

/// The peers, each with the name under which it is told and one of its steps.
fn peer_names(steps: &[Labelled]) -> Vec<(String, &Labelled)> {
    let mut firsts: Vec<&Labelled> = Vec::new();
    for step in steps.iter().filter(|step| step.is_peer()) {
        if !firsts.iter().any(|first| first.is_of(step)) {
            firsts.push(step);
        }
    }
    let name = |step: &&Labelled| {
        let is_alone = firsts.iter().filter(|first| first.contender == step.contender).count() == 1;
        if is_alone {
            return step.contender.to_owned();
        }
        format!("{}, {}, {}", step.contender, step.place.name(), step.payload_bytes)
    };
    firsts.iter().map(|step| (name(step), *step)).collect()
}

impl PeerSummary {
    /// Whether `step` is one of its own.
    pub(crate) fn is_of(&self, step: &Labelled) -> bool {
        (self.contender, self.place, self.payload_bytes)
            == (step.contender, step.place, step.payload_bytes)
    }

    fn of(
        peer: &Labelled,
        steps: &[Labelled],
        rounds: &[&Round],
        rate: &impl Fn(&dyn Fn(&Labelled) -> bool) -> Option<f64>,
        raw_lines_per_s: impl Fn(&Labelled) -> Option<f64>,
    ) -> Self {
        let is_peer = |step: &Labelled| step.is_of(peer);
        let round_trips = RoundTrips::of(steps, rounds, is_peer);
        let times_better: Vec<[Option<f64>; 3]> = round_trips
            .0
            .iter()
            .filter_map(|(round, _, times)| {
                let own = own_times(steps, round, peer)?;
                Some(ratios(times.percentiles_ns(), own.percentiles_ns()))
            })
            .collect();
        let versus = |at: usize| {
            Compared::of(times_better.iter().filter_map(|times_better| times_better[at]).collect())
        };
        let faster = |round: &&Round| {
            let own = best_rate(steps, round, |step| step.is_set_against(peer, steps))?;
            Some(own / best_rate(steps, round, is_peer)?)
        };
        let tickcast = Versus {
            p50: versus(0),
            p99: versus(1),
            p999: versus(2),
            messages_per_s: Compared::of(rounds.iter().filter_map(faster).collect()),
        };
        Self {
            contender: peer.contender,
            place: peer.place,
            payload_bytes: peer.payload_bytes,
            handoff_round_trip_ns: round_trips.handoff_ns(),
            round_trip_ns: round_trips.ns(),
            ratio: round_trips.ratio(),
            messages_per_s: rate(&is_peer),
            raw_lines_per_s: raw_lines_per_s(peer),
            valid: round_trips.0.len() >= BLOCKS_MIN,
            tickcast,
        }
    }
}
