//! Whether messages were sent when they were due: if not, times that count from then are not those
//! of what was asked for.
use crate::report::Labelled;
use crate::rounds::Round;
use crate::step::{Found, LATE_SHARE_MAX};

/// The rows of steps whose generator was late with too many messages of the blocks that count,
/// taken together. A sweep is not among them: it goes on until a rate is too much, and its table
/// says from where on it was late.
pub(crate) fn late<'a>(steps: &'a [Labelled], rounds: &[&Round]) -> Vec<&'a str> {
    let is_late = |&at: &usize| {
        let (mut late, mut all) = (0.0, 0.0);
        for block in rounds.iter().filter_map(|round| round.counted(at)) {
            if let Found::OpenLoop(found) = &block.found {
                let sent = found.times.whole.len() as f64;
                (late, all) = (late + found.late_share * sent, all + sent);
            }
        }
        !steps[at].sweeps && late > LATE_SHARE_MAX * all
    };
    (0..steps.len()).filter(is_late).map(|at| steps[at].row.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Source};
    use crate::crowd::Crowd;
    use crate::message::Payload;
    use crate::rounds::{Block, Handoff, Verdict};
    use crate::statistics::Samples;
    use crate::step::{OpenLoop, Step, Times};
    use crate::transport::{Mode, Place};

    fn step(row: &str, sweeps: bool, crowd: Option<Crowd>) -> Labelled {
        Labelled {
            row: row.to_owned(),
            contender: "tickcast",
            place: Place::Ipc,
            payload_bytes: Payload::TICK,
            crowd,
            step: Step::OneWay { rate: 100_000 },
            sweeps,
        }
    }

    fn round(late_shares: &[f64], verdict: Verdict) -> Round {
        let clock = Clock::of(Source::Monotonic).unwrap();
        let times = Times::of(Samples::from(vec![(100, 1_000)]), &clock, "");
        let block = |&late_share: &f64| Block {
            handoff: Handoff::of(&times),
            verdict,
            found: Found::OpenLoop(OpenLoop {
                times: times.clone(),
                achieved_per_s: 100_000.0,
                late_share,
                lateness_p99_ns: None,
                refused: 0,
                lost: 0,
                negative: 0,
                each: Vec::new(),
            }),
        };
        Round {
            order: (0..late_shares.len()).collect(),
            handoffs: vec![times.clone(); late_shares.len() + 1],
            blocks: late_shares.iter().map(block).collect(),
            hiccups: Default::default(),
            preemptions: 0,
        }
    }

    #[test]
    fn every_schedule_is_judged_but_those_of_a_sweep() {
        let (topic, mode) = ("crowd".to_owned(), Mode::Lossy);
        let crowd = Crowd { topic, payload: Payload::TICK, mode, fast: 8, beside: None };
        let steps = [
            step("one way", false, None),
            step("beyond", true, None),
            step("8 lossy", false, Some(crowd)),
        ];
        let late = |rounds: &[Round]| late(&steps, &rounds.iter().collect::<Vec<_>>()).join("; ");
        use Verdict::{Counts, Unsettled};
        let fine = || round(&[0.0, 0.0, 0.01], Counts);
        assert_eq!(late(&[fine(), fine()]), "");
        let crowds = || round(&[0.0, 0.5, 0.02], Counts);
        assert_eq!(late(&[fine(), crowds(), crowds()]), "8 lossy");
        assert_eq!(late(&[fine(), crowds()]), "8 lossy", "a quarter of all");
        assert_eq!(late(&[fine(), round(&[1.0, 1.0, 1.0], Unsettled)]), "", "it does not count");
        assert_eq!(late(&[round(&[0.5, 0.5, 0.5], Counts)]), "one way; 8 lossy");
    }
}
