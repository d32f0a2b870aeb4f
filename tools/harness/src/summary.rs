//! A run in a few figures, of the regime with the most rounds.
use serde::{Serialize, Serializer};

use crate::clock::Clock;
use crate::heading::Heading;
use crate::message::Payload;
use crate::offset::Offset;
use crate::report::{Labelled, best_rate, own_times};
use crate::rounds::Round;
use crate::statistics::Spread;
use crate::step::{Found, Step, Times};
use crate::transport::Place;
use crate::verdict::{RATIO_MIN, Standing};

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
    /// Cache lines a second that the bare stream moves.
    pub(crate) raw_lines_per_s: Option<f64>,
    /// Whether all that is above counts.
    pub(crate) valid: bool,
    pub(crate) invalid_because: Vec<String>,
    pub(crate) oversubscribed: bool,
    /// By name, in the order in which they were measured; where a peer was run with several
    /// payloads or places, those are part of the name.
    #[serde(serialize_with = "as_map")]
    pub(crate) peers: Vec<(String, PeerSummary)>,
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
    fn of(times_better: Vec<f64>) -> Option<Self> {
        let times_better = Spread::of(times_better)?;
        Some(Self { times_better, standing: Standing::of(&times_better) })
    }
}

type Of = fn(&Times) -> Option<f64>;
const PERCENTILES: [Of; 3] = [|times| times.p50_ns, |times| times.p99_ns, |times| times.p999_ns];

fn median(values: Vec<f64>) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

impl Percentiles {
    /// Medians over rounds of what `of` makes of each percentile.
    fn of(rounds: &[&Round], of: impl Fn(&Round, Of) -> Option<f64>) -> Self {
        let [p50, p99, p999] = PERCENTILES.map(|percentile| {
            median(rounds.iter().filter_map(|round| of(round, percentile)).collect())
        });
        Self { p50, p99, p999 }
    }

    /// Of the blocks that `times` finds in the rounds: themselves, and as ratios to the hand-off.
    fn of_times<'a>(
        rounds: &[&'a Round],
        times: impl Fn(&'a Round) -> Option<&'a Times>,
    ) -> (Self, Self) {
        let [own, ratio] = [false, true].map(|as_ratio| {
            let [p50, p99, p999] = PERCENTILES.map(|percentile| {
                let of = |round: &&'a Round| {
                    let own_ns = percentile(times(round)?)?;
                    Some(if as_ratio { own_ns / percentile(&round.opening)? } else { own_ns })
                };
                median(rounds.iter().filter_map(of).collect())
            });
            Self { p50, p99, p999 }
        });
        (own, ratio)
    }
}

impl Summary {
    pub(crate) fn of(
        heading: &Heading,
        offset: Offset,
        steps: &[Labelled],
        rounds: &[&Round],
    ) -> Self {
        let payload = steps.first().map_or(Payload::TICK, |step| step.payload_bytes);
        let handoff_round_trip_ns = Percentiles::of(rounds, |round, of| of(&round.opening));
        let (round_trip_ns, ratio) =
            Percentiles::of_times(rounds, |round| own_times(steps, round, payload));
        let rate = |who: &dyn Fn(&Labelled) -> bool, payload| {
            let rates = rounds.iter().filter_map(|round| best_rate(steps, round, payload, who));
            median(rates.collect())
        };
        let lines = |payload: Payload| (payload.bytes() + 16).div_ceil(64) as f64;
        let raw_lines_per_s = |payload| Some(rate(&Labelled::is_bare, payload)? * lines(payload));
        let mut invalid_because = Vec::new();
        let mut invalid_if = |is: bool, why: &str| {
            if is {
                invalid_because.push(why.to_owned());
            }
        };
        invalid_if(rounds.is_empty(), "the host changed regime within every round");
        invalid_if(heading.oversubscribed, "both sides share one core");
        invalid_if(!Clock::is_steady(heading.drift_ppm), "the clock's rate moved during the run");
        invalid_if(
            !offset.is_none(&heading.clock) && steps.iter().any(Labelled::is_one_way),
            "the clocks of the two cores disagree, so times in one direction mean nothing",
        );
        invalid_if(
            ratio.p50.is_some_and(|ratio| ratio < RATIO_MIN),
            "round trips beat the bare hand-off, so the yardstick is wrong",
        );
        invalid_if(
            is_late(steps, rounds),
            "the generator sent more than 1 % of its messages a whole period late",
        );
        let peer = |(name, step): (String, &Labelled)| {
            (name, PeerSummary::of(step, steps, rounds, &rate, raw_lines_per_s))
        };
        let peers = peer_names(steps).into_iter().map(peer).collect();
        Self {
            payload_bytes: payload,
            rounds: rounds.len(),
            handoff_round_trip_ns,
            round_trip_ns,
            ratio,
            messages_per_s: rate(&Labelled::is_tickcast, payload),
            raw_lines_per_s: raw_lines_per_s(payload),
            valid: invalid_because.is_empty(),
            invalid_because,
            oversubscribed: heading.oversubscribed,
            peers,
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

/// Whether the generator was late at the rate that was asked for: the first one of its kind. Those
/// behind it are there to find where lateness begins.
fn is_late(steps: &[Labelled], rounds: &[&Round]) -> bool {
    let first = |is: fn(&Step) -> bool| steps.iter().position(|step| is(&step.step));
    let asked = [
        first(|step| matches!(step, Step::PacedRoundTrips { .. })),
        first(|step| matches!(step, Step::OneWay { .. })),
    ];
    asked.into_iter().flatten().any(|at| {
        let late: Vec<f64> = rounds
            .iter()
            .filter_map(|round| match &round.blocks[at] {
                Found::OpenLoop(found) => Some(if found.is_on_time() { 0.0 } else { 1.0 }),
                _ => None,
            })
            .collect();
        late.iter().sum::<f64>() * 2.0 > late.len() as f64
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
    fn of(
        peer: &Labelled,
        steps: &[Labelled],
        rounds: &[&Round],
        rate: &impl Fn(&dyn Fn(&Labelled) -> bool, Payload) -> Option<f64>,
        raw_lines_per_s: impl Fn(Payload) -> Option<f64>,
    ) -> Self {
        let payload = peer.payload_bytes;
        let at =
            steps.iter().position(|step| step.is_of(peer) && matches!(step.step, Step::RoundTrips));
        let (round_trip_ns, ratio) =
            Percentiles::of_times(rounds, |round| match at.map(|at| &round.blocks[at]) {
                Some(Found::Times(times)) => Some(times),
                _ => None,
            });
        let versus = |of: Of| {
            let times_better = |round: &&Round| match &round.blocks[at?] {
                Found::Times(times) => Some(of(times)? / of(own_times(steps, round, payload)?)?),
                _ => None,
            };
            Compared::of(rounds.iter().filter_map(times_better).collect())
        };
        let [p50, p99, p999] = PERCENTILES.map(versus);
        let is_peer = |step: &Labelled| step.is_of(peer);
        let faster = |round: &&Round| {
            let own = best_rate(steps, round, payload, Labelled::is_tickcast)?;
            Some(own / best_rate(steps, round, payload, is_peer)?)
        };
        let messages_per_s = Compared::of(rounds.iter().filter_map(faster).collect());
        Self {
            contender: peer.contender,
            place: peer.place,
            payload_bytes: payload,
            handoff_round_trip_ns: Percentiles::of(rounds, |round, of| of(&round.opening)),
            round_trip_ns,
            ratio,
            messages_per_s: rate(&is_peer, payload),
            raw_lines_per_s: raw_lines_per_s(payload),
            valid: ratio.p50.is_none_or(|ratio| ratio >= RATIO_MIN) && !rounds.is_empty(),
            tickcast: Versus { p50, p99, p999, messages_per_s },
        }
    }
}
