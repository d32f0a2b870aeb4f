//! Whether tickcast is ahead of all peers that took part in a run: a goal for each payload and each
//! figure in which they are compared. Who was left out is told elsewhere, with the reason.
use crate::goal::Outcome;
use crate::message::Payload;
use crate::report::{Kind, Labelled};
use crate::summary::{Compared, PeerSummary, Versus};
use crate::verdict::Standing;

/// A figure in which peers are compared.
struct Figure {
    name: &'static str,
    /// What is measured for it.
    kind: Kind,
    of: fn(&Versus) -> Option<Compared>,
    /// Of ticks it is enough that no peer is ahead.
    tick_may_be_equal: bool,
}

const FIGURES: [Figure; 4] = [
    Figure {
        name: "at p50",
        kind: Kind::RoundTrips,
        of: |versus| versus.p50,
        tick_may_be_equal: false,
    },
    Figure {
        name: "at p99",
        kind: Kind::RoundTrips,
        of: |versus| versus.p99,
        tick_may_be_equal: true,
    },
    Figure {
        name: "at p99.9",
        kind: Kind::RoundTrips,
        of: |versus| versus.p999,
        tick_may_be_equal: true,
    },
    Figure {
        name: "in messages/s",
        kind: Kind::Streams,
        of: |versus| versus.messages_per_s,
        tick_may_be_equal: false,
    },
];

/// How tickcast stands to one peer in one figure; nothing where no block tells of both.
type Contest = (String, Option<Compared>);

/// What became of the goals, the smallest payload first.
pub(crate) fn goals(steps: &[Labelled], peers: &[(String, PeerSummary)]) -> Vec<Outcome> {
    let mut payloads: Vec<Payload> = peers.iter().map(|(_, peer)| peer.payload_bytes).collect();
    payloads.sort_unstable();
    payloads.dedup();
    let mut goals = Vec::new();
    for payload in payloads {
        for Figure { name, kind, of, tick_may_be_equal } in &FIGURES {
            let is_measured = |peer: &&PeerSummary| {
                peer.payload_bytes == payload
                    && steps.iter().any(|step| Kind::of(step.step) == *kind && peer.is_of(step))
            };
            let measured = peers.iter().map(|(_, peer)| peer).filter(is_measured);
            let contest = |peer: &PeerSummary| {
                (format!("{}, {}", peer.contender, peer.place.name()), of(&peer.tickcast))
            };
            let contests: Vec<Contest> = measured.map(contest).collect();
            if contests.is_empty() {
                continue;
            }
            let may_be_equal = *tick_may_be_equal && payload == Payload::TICK;
            let goal = match may_be_equal {
                true => format!("no peer of this run ahead of tickcast {name}, {payload}"),
                false => format!("tickcast ahead of every peer of this run {name}, {payload}"),
            };
            goals.push(judge(goal, may_be_equal, &contests));
        }
    }
    goals
}

/// One peer in the way is enough to miss a goal; it is met only where all of them were told.
fn judge(goal: String, may_be_equal: bool, contests: &[Contest]) -> Outcome {
    let (mut in_the_way, mut untold, mut least) = (Vec::new(), Vec::new(), f64::INFINITY);
    for (name, compared) in contests {
        let Some(Compared { times_better, standing }) = compared else {
            untold.push(format!("{name} (no figure)"));
            continue;
        };
        let times_better = times_better.median;
        match standing {
            Standing::Ahead => {}
            Standing::Equal if may_be_equal => {}
            Standing::Equal => in_the_way.push(format!("{name} ({times_better:.2}, equal)")),
            Standing::Behind => in_the_way.push(format!("{name} ({times_better:.2})")),
            Standing::TooFew => untold.push(format!("{name} (few blocks)")),
        }
        least = least.min(times_better);
    }
    if !in_the_way.is_empty() {
        Outcome { goal, figure: Some(least), met: Some(false), because_of: in_the_way }
    } else if !untold.is_empty() {
        // Where all of them are untold, there is nobody to be named.
        if untold.len() == contests.len() {
            untold.clear();
        }
        Outcome { goal, figure: None, met: None, because_of: untold }
    } else {
        Outcome { goal, figure: Some(least), met: Some(true), because_of: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contest(name: &str, times_better: &[f64]) -> Contest {
        (name.to_owned(), Compared::of(times_better.to_vec()))
    }

    fn told(may_be_equal: bool, contests: &[Contest]) -> String {
        judge("to win".to_owned(), may_be_equal, contests).to_string()
    }

    #[test]
    fn goals_are_missed_by_whoever_is_in_the_way() {
        let slow = contest("slow", &[4.0, 5.0, 5.0, 5.0, 6.0]);
        let alike = contest("alike", &[0.9, 0.9, 1.02, 1.1, 1.1]);
        let fast = contest("fast", &[0.4, 0.5, 0.5, 0.5, 0.6]);
        assert_eq!(told(false, std::slice::from_ref(&slow)), "goal: to win: 5.000, met");
        let all = [slow.clone(), alike.clone(), fast];
        assert_eq!(told(true, &all), "goal: to win: fast (0.50), missed");
        assert_eq!(told(false, &all), "goal: to win: alike (1.02, equal); fast (0.50), missed");
        assert_eq!(told(true, &[slow, alike]), "goal: to win: 1.020, met");
    }

    #[test]
    fn goals_are_met_only_where_every_peer_was_told() {
        let slow = contest("slow", &[5.0; 5]);
        let few = contest("few", &[5.0; 4]);
        let withheld = contest("withheld", &[]);
        let told_of = [slow, few, withheld];
        let untold = "goal: to win: not measured: few (few blocks); withheld (no figure)";
        assert_eq!(told(true, &told_of), untold);
        assert_eq!(told(true, &told_of[1..]), "goal: to win: not measured");
        let fast = contest("fast", &[0.5; 5]);
        let all = [&told_of[..], &[fast]].concat();
        assert_eq!(told(true, &all), "goal: to win: fast (0.50), missed");
    }
}
