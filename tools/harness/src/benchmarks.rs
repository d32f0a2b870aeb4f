//! The benchmarks: who takes part in each, and what is measured of them. Add one here.
use std::time::{Duration, Instant};
use std::{mem, thread};

use anyhow::{Result, ensure};

use crate::catalogue::{self, Entry};
use crate::crowd::{Beside, Crowd};
use crate::heading::Heading;
use crate::interrupt::Interrupt;
use crate::left_out;
use crate::message::Payload;
use crate::options::{Options, Takes};
use crate::report::{How, Ran, Report};
use crate::rounds::{handoff, interleave};
use crate::session::{Entrant, Session, Setting};
use crate::step::{Planned, Step, Times};
use crate::transport::{Mode, Place};

const TICKCAST: &str = "tickcast";
const BARE_STREAM: &str = "bare stream";
const UDP_LOOPBACK: &str = "udp loopback";
const STREAMS: [Step; 2] = [Step::Stream { in_batches: false }, Step::Stream { in_batches: true }];

/// The rates of a sweep; those behind the first that is not kept up are left out.
const RATES: [u64; 12] = [
    10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000,
    20_000_000, 30_000_000, 50_000_000,
];
/// Fast subscribers beside which one is not like them.
const FAST_BESIDE: usize = 4;
/// Messages of a burst: half of what the ring holds.
const BURST_SHARE: usize = 2;

/// Who takes part, and what is measured of them.
#[derive(Default)]
struct Program {
    entrants: Vec<Entrant>,
    plan: Vec<Planned>,
    /// A peer that it is about.
    subject: Option<&'static str>,
}

impl Program {
    /// Adds steps for an entrant; what is there already is not added again.
    fn add(&mut self, entrant: Entrant, steps: impl IntoIterator<Item = Planned>) {
        let known = self.entrants.iter().position(|other| *other == entrant);
        let at = known.unwrap_or_else(|| {
            self.entrants.push(entrant);
            self.entrants.len() - 1
        });
        for step in steps {
            let is_known = |own: &Planned| own.entrant == at && own.step == step.step;
            if !self.plan.iter().any(is_known) {
                self.plan.push(Planned { entrant: at, ..step });
            }
        }
    }

    fn round_trips(&mut self, name: &'static str, payload: Payload, place: Place) {
        self.add(Entrant::transport(name, payload, place), [Planned::new(Step::RoundTrips)]);
    }

    /// Streams, with their yardstick at the same place.
    fn streams(&mut self, name: &'static str, payload: Payload, place: Place) {
        self.add(Entrant::transport(name, payload, place), STREAMS.map(Planned::new));
        // For messages that fit into one of its lines.
        if payload <= Payload::TICK {
            let steps = [Step::RoundTrips].into_iter().chain(STREAMS);
            self.add(Entrant::transport(BARE_STREAM, payload, place), steps.map(Planned::new));
        }
    }

    /// What every summary has: round trips and streams of the first payload.
    fn basics(&mut self, options: &Options) {
        let (payload, place) = (options.first_payload(), options.place());
        self.round_trips(TICKCAST, payload, place);
        self.streams(TICKCAST, payload, place);
    }
}

/// A benchmark of the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benchmark {
    /// Round trips one by one, and round trips and messages in one direction at set rates.
    Latency,
    /// Streams.
    Throughput,
    /// What subscribers cost a publisher, and when messages reach them.
    Fanout,
    /// Round trips and streams of everybody that was asked for, wherever they can be.
    Compare,
    /// Datagrams over loopback by plain system calls: what feeds from the network are set against.
    Udp,
    /// All but the comparison.
    All,
}

impl Benchmark {
    /// Measures.
    ///
    /// # Errors
    /// When a side fails, or the user wants an end.
    pub fn run(
        self,
        options: &Options,
        catalogue: &'static [Entry],
        interrupt: &Interrupt,
    ) -> Result<Report> {
        let peers = peers(options, catalogue)?;
        let mut program = Program::default();
        match self {
            Self::Latency => program.latency(options, &peers),
            Self::Throughput => program.throughput(options, &peers),
            Self::Fanout => program.fanout(options),
            Self::Compare => program.compare(options, &peers),
            Self::Udp => {
                program.udp(options, catalogue)?;
                program.subject = Some(UDP_LOOPBACK);
            }
            Self::All => {
                program.latency(options, &peers);
                program.throughput(options, &peers);
                program.fanout(options);
                program.udp(options, catalogue)?;
            }
        }
        run(self.title(), program, options, catalogue, interrupt)
    }

    /// Which options mean something to it.
    pub fn takes(self) -> Takes {
        const SUBSCRIBERS: (&str, &str) = ("subscribers", "it has one; fanout has more");
        const RATE: (&str, &str) = ("rate", "messages go as fast as they can");
        const PEERS: (&str, &str) = ("peers", "they take part in latency, throughput and all");
        const DIR: (&str, &str) = ("dir", "it writes no journal");
        let (benchmark, refused): (_, &[_]) = match self {
            Self::Latency => ("latency", &[SUBSCRIBERS, DIR]),
            Self::Throughput => ("throughput", &[RATE, SUBSCRIBERS, DIR]),
            Self::Fanout => ("fanout", &[PEERS, DIR]),
            Self::Compare => ("the comparison", &[RATE, SUBSCRIBERS, DIR]),
            Self::Udp => ("udp", &[RATE, SUBSCRIBERS, PEERS, DIR]),
            Self::All => ("all", &[]),
        };
        Takes { benchmark, refused, several_payloads: self != Self::Fanout }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Latency => "round trips and messages in one direction",
            Self::Throughput => "streams of messages",
            Self::Fanout => "what subscribers cost a publisher, and when messages reach them",
            Self::Compare => "tickcast and its peers",
            Self::Udp => "datagrams over loopback",
            Self::All => "round trips, streams, subscribers and datagrams",
        }
    }
}

impl Program {
    fn latency(&mut self, options: &Options, peers: &[&'static Entry]) {
        let (first, place) = (options.first_payload(), options.place());
        self.basics(options);
        for &payload in options.payloads() {
            self.round_trips(TICKCAST, payload, place);
            for peer in peers {
                self.round_trips(peer.name, payload, place_of(peer, place));
            }
        }
        let rate = options.rate();
        let sweep = RATES.into_iter().filter(|&other| other != rate).map(|rate| (rate, true));
        let own = Entrant::transport(TICKCAST, first, place);
        for (rate, sweeps) in [(rate, false)].into_iter().chain(sweep) {
            let steps = [Step::PacedRoundTrips { rate }, Step::OneWay { rate }];
            self.add(own.clone(), steps.map(|step| Planned { sweeps, ..Planned::new(step) }));
        }
    }

    fn throughput(&mut self, options: &Options, peers: &[&'static Entry]) {
        let place = options.place();
        self.basics(options);
        for &payload in options.payloads() {
            self.streams(TICKCAST, payload, place);
            for peer in peers {
                if peer.streams {
                    self.streams(peer.name, payload, place_of(peer, place));
                }
            }
        }
    }

    fn fanout(&mut self, options: &Options) {
        self.basics(options);
        for mode in [Mode::Lossy, Mode::Reliable] {
            // Each is set against the single one of its kind.
            let further = options.subscribers().iter().copied().filter(|&number| number != 1);
            for fast in [1].into_iter().chain(further) {
                self.crowd(options, fast as usize, mode, None);
            }
        }
        for beside in [Beside::Stalled, Beside::Slow, Beside::Late] {
            self.crowd(options, FAST_BESIDE, options.mode(), Some(beside));
        }
    }

    fn crowd(&mut self, options: &Options, fast: usize, mode: Mode, beside: Option<Beside>) {
        let (payload, place) = (options.first_payload(), options.place());
        let topic = format!("crowd-{}", self.entrants.len());
        let crowd = Crowd { topic, payload, mode, fast, beside };
        let messages = (crowd.capacity() / BURST_SHARE) as u64;
        let entrant = Entrant { name: TICKCAST, payload, place, crowd: Some(crowd) };
        let mut steps = vec![
            Step::Bursts { messages, afterwards: false },
            Step::OneWay { rate: options.rate() },
        ];
        if beside.is_none() {
            // What the publisher does for them, without what their polls do to its lines.
            steps.push(Step::Bursts { messages, afterwards: true });
        }
        self.add(entrant, steps.into_iter().map(Planned::new));
    }

    fn udp(&mut self, options: &Options, catalogue: &'static [Entry]) -> Result<()> {
        let entry = catalogue::find(catalogue, UDP_LOOPBACK)?;
        self.basics(options);
        for &payload in options.payloads() {
            let place = place_of(entry, options.place());
            self.round_trips(entry.name, payload, place);
            self.streams(entry.name, payload, place);
        }
        Ok(())
    }

    fn compare(&mut self, options: &Options, peers: &[&'static Entry]) {
        // Where the summary is of comes first.
        let mut places = [Place::InProcess, Place::Ipc];
        places.sort_by_key(|&place| place != options.place());
        for &payload in options.payloads() {
            for place in places {
                self.round_trips(TICKCAST, payload, place);
                self.streams(TICKCAST, payload, place);
            }
            for peer in peers {
                for &place in peer.places {
                    self.round_trips(peer.name, payload, place);
                    if peer.streams {
                        self.streams(peer.name, payload, place);
                    }
                }
            }
        }
    }
}

/// Those that were asked for.
fn peers(options: &Options, catalogue: &'static [Entry]) -> Result<Vec<&'static Entry>> {
    let is_peer = |entry: &&Entry| entry.name != TICKCAST && entry.name != BARE_STREAM;
    if options.peers.iter().any(|name| name == "all") {
        return Ok(catalogue.iter().filter(is_peer).collect());
    }
    let peer = |name: &String| {
        let entry = catalogue::find(catalogue, name)?;
        ensure!(is_peer(&entry), "{name} takes part in every run");
        Ok(entry)
    };
    options.peers.iter().map(peer).collect()
}

/// Where it was asked to be, if it can be there.
fn place_of(peer: &Entry, wanted: Place) -> Place {
    if peer.places.contains(&wanted) { wanted } else { peer.places[0] }
}

fn run(
    title: &str,
    program: Program,
    options: &Options,
    catalogue: &'static [Entry],
    interrupt: &Interrupt,
) -> Result<Report> {
    let Program { entrants, plan, subject } = program;
    let setting = Setting {
        interrupt,
        place: options.place(),
        cores: &options.cores,
        mode: options.mode(),
        catalogue,
        subject,
    };
    let mut session = Session::start(&setting, entrants.clone())?;
    // Numbers of entrants change where some are left out.
    let mut plan: Vec<Planned> = plan
        .into_iter()
        .filter_map(|planned| {
            let wanted = &entrants[planned.entrant];
            let entrant = session.entrants.iter().position(|entrant| entrant == wanted)?;
            Some(Planned { entrant, ..planned })
        })
        .collect();
    let offset = session.offset()?;
    let rounds = interleave(&mut session, &mut plan, options.duration())?;
    let offset = offset.and(session.offset()?);
    let mut how: Vec<How> = Vec::new();
    let took_part = plan.iter().map(|planned| &session.entrants[planned.entrant]);
    for entrant in took_part.filter(|entrant| entrant.crowd.is_none()) {
        let Entry { name, how: own, .. } = *catalogue::find(catalogue, entrant.name)?;
        if !how.iter().any(|how| how.name == name) {
            how.push(How { name, how: own });
        }
    }
    let heading = Heading::new(title, session.cores, session.clock, session.preemptions);
    let left_out = left_out::lines(&session.left_out, &entrants);
    let entrants = mem::take(&mut session.entrants);
    Ok(Report::new(Ran { heading, offset, how, left_out, entrants, plan, rounds }))
}

/// How long the hand-off is measured that others print beside their own figures.
const HANDOFF_DURATION: Duration = Duration::from_millis(200);

/// The bare hand-off by itself, between two threads of this process on the first two cores that it
/// may use: what others print beside their own figures. Of many blocks, the one in the middle.
///
/// # Errors
/// When a side cannot be pinned to its core, or is kept from it for seconds, or the user wants an
/// end.
pub fn bare_handoff(interrupt: &Interrupt) -> Result<Times> {
    let measure = || {
        let place = Place::InProcess;
        let mode = Mode::Reliable;
        let setting = Setting { interrupt, place, cores: &[], mode, catalogue: &[], subject: None };
        let mut session = Session::start(&setting, Vec::new())?;
        handoff(&mut session)?;
        let start = Instant::now();
        let mut blocks = Vec::new();
        while blocks.is_empty() || start.elapsed() < HANDOFF_DURATION {
            interrupt.check()?;
            blocks.push(handoff(&mut session)?);
        }
        let p50 = |times: &Times| times.p50_ns.unwrap_or(f64::INFINITY);
        blocks.sort_by(|one, other| p50(one).total_cmp(&p50(other)));
        Ok(blocks.swap_remove(blocks.len() / 2))
    };
    // A thread of its own: the caller stays free to run on any core.
    thread::scope(|scope| scope.spawn(measure).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_hand_off_is_measured_and_its_threads_end() {
        let times = bare_handoff(&Interrupt::default()).unwrap();
        assert!(times.samples > 0 && times.p50_ns.is_some(), "{times:?}");
    }
}
