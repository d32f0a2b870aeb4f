//! How long it takes until a message is durable, beside what a disk takes at least for that: the
//! pages that change are written together, and the file is flushed. And how many messages
//! become durable together.
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::Result;
use tickcast::SyncPolicy;

use super::direct::{Direct, Pages};
use super::far_core::{AgentId, Busy, Crew, FarCore};
use super::goals::{DURABLE_GOALS, for_ticks};
use super::recording::{Old, Recording};
use super::trial::{Found, Trial};
use super::{RING_BYTES, Setup};
use tickcast_harness::clock::Clock;
use tickcast_harness::message::{Payload, message};
use tickcast_harness::statistics::{Percentile, Samples};
use tickcast_harness::verdict::Judged;
use tickcast_harness::{Curve, CurveKind, with_words};

/// How long a block takes, and the samples that it has at least.
const BLOCK: Duration = Duration::from_millis(150);
const SAMPLES_MIN: u64 = 20;

/// The bare file: so many blocks of so many pages, used again and again.
const FILE_BLOCKS: u64 = 64;
const BLOCK_PAGES: u64 = 16;
const PAGE_BYTES: u64 = 4096;

/// Messages that are published between two looks at the clock.
const FLOOD_MESSAGES: u64 = 4096;

/// What the figures of a block are.
pub(crate) const DURABLE_COLUMNS: [&str; 4] =
    ["x bare", "p50 us", "durable messages/s", "x one by one"];

/// Who takes part.
const CONTENDERS: [&str; 4] = ["bare", "bare, both cores busy", "journal", "journal, flood"];
const BARE: usize = 0;
const BARE_BUSY: usize = 1;
const ONE_BY_ONE: usize = 2;
/// Those whose times are told, the first ones: under flood nobody is timed.
const TIMED: [(&str, CurveKind); 3] = [
    ("bare disk", CurveKind::BareDisk),
    ("bare disk, both cores busy", CurveKind::BareDisk),
    ("journal", CurveKind::Journal),
];

/// What a block made durable.
#[derive(Debug, Clone)]
struct Made {
    messages: u64,
    /// Of one at a time.
    times: Samples,
    p50_us: Option<f64>,
    messages_per_s: f64,
}

/// A journal that makes everything durable at once.
pub(super) struct Always {
    recording: Recording,
    journal: AgentId,
    busy: AgentId,
    payload: Payload,
}

impl Always {
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn begin(setup: &Setup, crew: &mut Crew, payload: Payload) -> Result<Self> {
        let Setup { bus, place, .. } = setup;
        let (recording, journal) =
            Recording::begin(bus, place, "always", RING_BYTES, SyncPolicy::Always, Old::Recycled)?;
        Ok(Self { recording, journal: crew.add(journal), busy: crew.add(Busy), payload })
    }

    /// Compares.
    ///
    /// # Errors
    /// When a contender fails, or the user wants an end.
    pub(super) fn run(self, setup: &Setup, far: &FarCore, duration: Duration) -> Result<Found> {
        let Self { mut recording, journal, busy, payload } = self;
        let Setup { place, clock, .. } = setup;
        let mut direct = Direct::new(Pages::Small)?;
        let bytes = FILE_BLOCKS * BLOCK_PAGES * PAGE_BYTES;
        let file = place.written(&mut direct, "bare-always", bytes)?;
        let frame_bytes = payload.frame_bytes() as u64;
        let mut bare = Bare { direct, file, frame_bytes, messages: 0 };
        far.beside(journal, || recording.fill_segments())?;
        let trial = Trial {
            title: "durable: from publishing a message until it is on disk, one at a time; and how \
                    many become durable under flood",
            contenders: CONTENDERS.map(str::to_owned).to_vec(),
            columns: &DURABLE_COLUMNS,
            drawn: "p50 us",
            goals: for_ticks(payload, &DURABLE_GOALS),
            limited: &[],
            notes: vec![
                format!("messages have {payload} of payload"),
                "bare: a block's first page and those of the message are written at the same time, \
                 and flushed then; x bare is of the faster one in the round"
                    .to_owned(),
                "files were written before".to_owned(),
            ],
            fault: "",
        };
        let mut whole = TIMED.map(|_| Samples::default());
        let mut found = trial.run(
            duration,
            &setup.interrupt,
            |at| {
                place.settle()?;
                match at {
                    BARE => one_by_one(clock, || bare.commit()),
                    BARE_BUSY => far.beside(busy, || one_by_one(clock, || bare.commit())),
                    ONE_BY_ONE => far.beside(journal, || {
                        one_by_one(clock, || {
                            let publisher = &mut recording.publisher;
                            let offset =
                                with_words!(payload, W => publisher.publish(0, &message::<W>(0))?);
                            recording.wait_durable(offset + 1)
                        })
                    }),
                    _ => far.beside(journal, || flood(&mut recording, payload)),
                }
            },
            |blocks| {
                whole.iter_mut().zip(blocks).for_each(|(whole, made)| whole.add(&made.times));
                judge(blocks)
            },
        )?;
        let curve = |((name, kind), whole): ((&str, _), _)| {
            Curve::of(format!("{name}, until durable"), kind, whole, clock)
        };
        found.curves = TIMED.into_iter().zip(whole).map(curve).collect();
        Ok(found)
    }
}

/// Does what makes one message durable, again and again.
fn one_by_one(clock: &Clock, mut make: impl FnMut() -> Result<()>) -> Result<Made> {
    let mut times = Samples::default();
    make()?;
    let start = Instant::now();
    while times.len() < SAMPLES_MIN || start.elapsed() < BLOCK {
        let start = clock.now();
        make()?;
        times.record(clock.ns_since(start));
    }
    let messages = times.len();
    let messages_per_s = messages as f64 / start.elapsed().as_secs_f64();
    let p50_ns = Percentile::P50.of(&times, clock.step_ns);
    let p50_us = p50_ns.map(|ns| (ns - clock.cost_ns) / 1e3);
    Ok(Made { messages, times, p50_us, messages_per_s })
}

fn flood(recording: &mut Recording, payload: Payload) -> Result<Made> {
    let first = recording.publisher.next_offset();
    let start = Instant::now();
    while start.elapsed() < BLOCK {
        with_words!(payload, W => recording.flood(&message::<W>(0), FLOOD_MESSAGES)?);
    }
    let end = recording.publisher.next_offset();
    recording.wait_durable(end)?;
    let messages = end - first;
    let messages_per_s = messages as f64 / start.elapsed().as_secs_f64();
    Ok(Made { messages, times: Samples::default(), p50_us: None, messages_per_s })
}

/// What a journal of single messages writes, without a journal.
struct Bare {
    direct: Direct,
    file: File,
    frame_bytes: u64,
    messages: u64,
}

impl Bare {
    /// A message more: the first page of its block, which has the checkpoint, and the pages that it
    /// lies in.
    fn commit(&mut self) -> Result<()> {
        let block_messages = (BLOCK_PAGES - 1) * PAGE_BYTES / self.frame_bytes;
        let block = self.messages / block_messages % FILE_BLOCKS;
        let at = self.messages % block_messages * self.frame_bytes;
        self.messages += 1;
        let head = block * BLOCK_PAGES;
        let page = |at: u64| head + 1 + at / PAGE_BYTES;
        self.direct.commit(&self.file, head, page(at)..page(at + self.frame_bytes - 1) + 1)
    }
}

fn judge(blocks: &[Made]) -> Vec<Judged> {
    let bare = [BARE, BARE_BUSY].iter().filter_map(|at| blocks[*at].p50_us).reduce(f64::min);
    let one_by_one = blocks[ONE_BY_ONE].messages_per_s;
    let judge = |(at, made): (usize, &Made)| Judged {
        valid: true,
        count: made.messages,
        figures: vec![
            made.p50_us.zip(bare).map(|(own, bare)| own / bare),
            made.p50_us,
            Some(made.messages_per_s),
            (at >= ONE_BY_ONE).then(|| made.messages_per_s / one_by_one),
        ],
    };
    blocks.iter().enumerate().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_set_against_the_faster_bare_case_and_the_flood_against_one_by_one() {
        let made = |p50_us, messages_per_s| Made {
            messages: 1,
            times: Samples::default(),
            p50_us,
            messages_per_s,
        };
        let blocks = [
            made(Some(100.0), 9_000.0),
            made(Some(80.0), 11_000.0),
            made(Some(120.0), 8_000.0),
            made(None, 8_000_000.0),
        ];
        let judged = judge(&blocks);
        let figures = |at: usize| (judged[at].figures[0], judged[at].figures[3]);
        assert_eq!(figures(0), (Some(1.25), None));
        assert_eq!(figures(2), (Some(1.5), Some(1.0)));
        assert_eq!(figures(3), (None, Some(1000.0)));
    }
}
