//! How fast the journal writes, beside bare writes of as many bytes to files in the same state:
//! *recycled* ones were written before, *fresh* ones are only allocated.
use std::collections::BTreeSet;
use std::fs::File;
use std::hint::spin_loop;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tickcast::SyncPolicy;

use super::direct::{Direct, Pages, Request, Span, Work};
use super::far_core::{AgentId, Crew, FarCore};
use super::fio::Fio;
use super::goals::WRITING_GOALS;
use super::place::Place;
use super::recording::{Old, Recording, SEGMENT_BYTES};
use super::trial::{Found, Trial};
use super::{RING_BYTES, Setup};
use tickcast_harness::cores;
use tickcast_harness::message::{Payload, message};
use tickcast_harness::verdict::Judged;
use tickcast_harness::with_words;

/// Of messages that do not make the publisher the limit.
const LARGE: Payload = Payload::LARGE;

/// Segments of a block at most, and how long a block is to take.
const SEGMENTS_MAX: u64 = 4;
const BLOCK_S: f64 = 0.1;

/// The time to measure for which one more segment is worth it.
const SEGMENT_TIME: Duration = Duration::from_millis(500);

/// Messages that push the last counted ones out of a block that is not full.
const PUSH_BYTES: u64 = 128 << 10;

/// What the figures of a block are.
pub(crate) const WRITING_COLUMNS: [&str; 3] = ["x bare", "MB/s", "M messages/s"];

/// Who takes part, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Bare,
    BareNeverFlushed,
    BareHuge,
    BareChecked,
    BareFed,
    Fio,
    Journal,
    JournalOf(Payload),
    BareFresh,
    JournalFresh,
}

impl Contender {
    const FIRST: [Self; 7] = [
        Self::Bare,
        Self::BareNeverFlushed,
        Self::BareHuge,
        Self::BareChecked,
        Self::BareFed,
        Self::Fio,
        Self::Journal,
    ];
    const LAST: [Self; 2] = [Self::BareFresh, Self::JournalFresh];

    /// All, with a journal for each of these payloads.
    fn all(payloads: &[Payload]) -> Vec<Self> {
        let others = payloads.iter().copied().filter(|payload| *payload != LARGE);
        Self::FIRST.into_iter().chain(others.map(Self::JournalOf)).chain(Self::LAST).collect()
    }

    fn name(self) -> String {
        let name = match self {
            Self::Bare => "bare",
            Self::BareNeverFlushed => "bare, never flushed",
            Self::BareHuge => "bare, huge pages",
            Self::BareChecked => "bare, with CRC",
            Self::BareFed => "bare, with CRC, fed",
            Self::Fio => "fio, never flushed",
            Self::Journal => "journal",
            Self::JournalOf(payload) => return format!("journal, {payload}"),
            Self::BareFresh => "bare, fresh",
            Self::JournalFresh => "journal, fresh",
        };
        name.to_owned()
    }

    /// What it is set against.
    fn yardstick(self) -> Self {
        match self {
            Self::BareFresh | Self::JournalFresh => Self::BareFresh,
            _ => Self::Bare,
        }
    }
}

/// What a block wrote.
#[derive(Debug, Clone, Copy)]
struct Written {
    bytes_per_s: f64,
    messages: u64,
    duration_s: f64,
    /// No file was made in a block of recycled ones.
    is_valid: bool,
}

impl Written {
    fn bare(bytes_per_s: f64, segments: usize) -> Self {
        let duration_s = segments as f64 * SEGMENT_BYTES as f64 / bytes_per_s;
        Self { bytes_per_s, messages: 0, duration_s, is_valid: true }
    }
}

/// Both journals.
pub(super) struct Journals {
    recycled: (Recording, AgentId),
    fresh: (Recording, AgentId),
}

impl Journals {
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn begin(setup: &Setup, crew: &mut Crew) -> Result<Self> {
        let mut begin = |name, old| -> Result<_> {
            let Setup { bus, place, .. } = setup;
            let (recording, journal) =
                Recording::begin(bus, place, name, RING_BYTES, SyncPolicy::None, old)?;
            Ok((recording, crew.add(journal)))
        };
        Ok(Self { recycled: begin("recycled", Old::Recycled)?, fresh: begin("fresh", Old::Kept)? })
    }

    /// Compares.
    ///
    /// # Errors
    /// When a contender fails, or the user wants an end.
    pub(super) fn run(
        self,
        setup: &Setup,
        far: &FarCore,
        payloads: &[Payload],
        duration: Duration,
    ) -> Result<Found> {
        let Setup { place, interrupt, .. } = setup;
        let (mut small, huge) = (Direct::new(Pages::Small)?, Direct::new(Pages::Huge)?);
        let made = (0..SEGMENTS_MAX)
            .map(|number| place.written(&mut small, &format!("bare-{number}"), SEGMENT_BYTES));
        let files: Vec<File> = made.collect::<Result<_>>()?;
        let spans = spans(&files);
        let (request, bytes_per_s) =
            small.best(Work::WriteAndFlush, &spans[..1], || Ok(interrupt.check()?))?;
        let worth_it = (bytes_per_s * BLOCK_S / SEGMENT_BYTES as f64) as u64;
        let in_time = (duration.as_nanos() / SEGMENT_TIME.as_nanos()) as u64;
        let segments = worth_it.min(in_time).clamp(1, SEGMENTS_MAX);
        let fio = Fio::find();
        let mut field = Field { setup, far, journals: self, small, huge, request, segments, fio };
        let (recording, agent) = &mut field.journals.recycled;
        far.beside(*agent, || recording.fill_segments())?;
        let mut contenders = Contender::all(payloads);
        contenders.retain(|contender| *contender != Contender::Fio || field.fio.is_some());
        let trial = Trial {
            title: "writing: bytes of log a second under flood, made durable segment by segment",
            contenders: contenders.iter().map(|contender| contender.name()).collect(),
            columns: &WRITING_COLUMNS,
            drawn: "MB/s",
            goals: &WRITING_GOALS,
            limited: &["journal", "journal, fresh"],
            notes: field.notes(),
            fault: "made a file, as no old one was free yet",
        };
        trial.run(
            duration,
            interrupt,
            |at| field.block(contenders[at], &spans),
            |blocks| judge(&contenders, blocks),
        )
    }
}

/// All that takes part.
struct Field<'a> {
    setup: &'a Setup,
    far: &'a FarCore,
    journals: Journals,
    small: Direct,
    huge: Direct,
    request: Request,
    /// Segments of a block.
    segments: u64,
    fio: Option<Fio>,
}

impl Field<'_> {
    fn notes(&self) -> Vec<String> {
        let Self { request, segments, .. } = self;
        let mut notes = vec![
            format!("blocks of {} MiB, in files of {} MiB", segments << 6, SEGMENT_BYTES >> 20),
            format!(
                "bare: {}, the best of several sizes and depths, from pages of 4 KiB as a ring's",
                request.name()
            ),
            "bare: a file is flushed once it is written, as a segment of the journal is; the last \
             flush does not count"
                .to_owned(),
            "with CRC: of what is written, before it is, on the same core".to_owned(),
            "fed: filled meanwhile, message by message, by the publisher's core; written on the \
             journal's"
                .to_owned(),
            "files were written before (recycled), but for fresh ones: allocated, never written"
                .to_owned(),
            format!("messages have {LARGE} of payload where nothing else is said"),
        ];
        if self.fio.is_none() {
            notes.push("fio is not installed, so its row is missing".to_owned());
        }
        notes
    }

    fn block(&mut self, contender: Contender, spans: &[Span<'_>]) -> Result<Written> {
        let Self { setup, far, journals, small, huge, request, segments, fio } = self;
        let (place, request, segments) = (&setup.place, *request, *segments);
        let spans = &spans[..segments as usize];
        match contender {
            Contender::Bare => bare(small, place, Work::WriteAndFlush, spans, request),
            Contender::BareNeverFlushed => bare(small, place, Work::Write, spans, request),
            Contender::BareHuge => bare(huge, place, Work::WriteAndFlush, spans, request),
            Contender::BareChecked => bare(small, place, Work::CheckWriteAndFlush, spans, request),
            Contender::BareFed => fed(small, setup, spans, request),
            Contender::BareFresh => {
                let made = (0..segments)
                    .map(|number| place.allocated(&format!("bare-fresh-{number}"), SEGMENT_BYTES));
                let files: Vec<File> = made.collect::<Result<_>>()?;
                bare(small, place, Work::WriteAndFlush, &self::spans(&files), request)
            }
            Contender::Fio => {
                place.settle()?;
                let fio = fio.as_ref().expect("who is missing is not asked");
                let rate = fio.write(place, segments * SEGMENT_BYTES, request, setup.cores.near)?;
                Ok(Written::bare(rate, spans.len()))
            }
            Contender::Journal | Contender::JournalOf(_) => {
                let payload = match contender {
                    Contender::JournalOf(payload) => payload,
                    _ => LARGE,
                };
                let (recording, agent) = &mut journals.recycled;
                place.settle()?;
                far.beside(*agent, || {
                    let before: BTreeSet<u64> = recording.inodes()?;
                    let written = flood(recording, payload, segments)?;
                    let is_valid = recording.inodes()?.is_subset(&before);
                    Ok(Written { is_valid, ..written })
                })
            }
            Contender::JournalFresh => {
                let (recording, agent) = &mut journals.fresh;
                recording.discard()?;
                place.settle()?;
                far.beside(*agent, || flood(recording, LARGE, segments))
            }
        }
    }
}

fn spans(files: &[File]) -> Vec<Span<'_>> {
    files.iter().map(|file| Span { file, bytes: SEGMENT_BYTES }).collect()
}

fn bare(
    direct: &mut Direct,
    place: &Place,
    work: Work,
    spans: &[Span<'_>],
    request: Request,
) -> Result<Written> {
    place.settle()?;
    Ok(Written::bare(direct.rate(work, spans, request)?, spans.len()))
}

/// Fills here what is written on the core where the journals are polled otherwise.
fn fed(
    direct: &mut Direct,
    setup: &Setup,
    spans: &[Span<'_>],
    request: Request,
) -> Result<Written> {
    setup.place.settle()?;
    let mut feeder = direct.feeder();
    let rate = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            cores::pin(setup.cores.far)?;
            direct.rate(Work::FeedCheckWriteAndFlush, spans, request)
        });
        while !writer.is_finished() {
            feeder.feed();
            spin_loop();
        }
        writer.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    Ok(Written::bare(rate, spans.len()))
}

/// Publishes some segments of log; measured until the journal has written them.
fn flood(recording: &mut Recording, payload: Payload, segments: u64) -> Result<Written> {
    let frame_bytes = payload.frame_bytes() as u64;
    let messages = segments * SEGMENT_BYTES / frame_bytes;
    let before = recording.head()?;
    recording.wait_written(before.offset)?;
    let start = Instant::now();
    let published = messages + PUSH_BYTES / frame_bytes;
    with_words!(payload, W => recording.flood(&message::<W>(0), published)?);
    recording.wait_written(before.offset + messages)?;
    let duration_s = start.elapsed().as_secs_f64();
    // The rest, so that it is not under way beside whoever comes next.
    let after = recording.head()?;
    recording.wait_written(after.offset)?;
    // With headers and padding.
    let message_bytes =
        (after.position - before.position) as f64 / (after.offset - before.offset) as f64;
    let bytes_per_s = messages as f64 * message_bytes / duration_s;
    Ok(Written { bytes_per_s, messages, duration_s, is_valid: true })
}

fn judge(contenders: &[Contender], blocks: &[Written]) -> Vec<Judged> {
    let rate_of = |wanted: Contender| {
        let at = contenders.iter().position(|contender| *contender == wanted)?;
        Some(blocks[at].bytes_per_s)
    };
    let judge = |(contender, block): (&Contender, &Written)| {
        let Written { bytes_per_s, messages, duration_s, is_valid } = *block;
        let messages_per_s = (messages > 0).then(|| messages as f64 / duration_s / 1e6);
        let ratio = rate_of(contender.yardstick()).map(|bare| bytes_per_s / bare);
        Judged {
            valid: is_valid,
            count: messages,
            figures: vec![ratio, Some(bytes_per_s / 1e6), messages_per_s],
        }
    };
    contenders.iter().zip(blocks).map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_set_against_bare_writes_to_files_in_the_same_state() {
        let rates = [100.0, 110.0, 120.0, 85.0, 70.0, 90.0, 95.0, 80.0, 50.0, 40.0];
        let blocks = rates.map(|rate| Written::bare(rate, 1));
        let contenders = Contender::all(&[Payload::LARGE, Payload::TICK]);
        assert_eq!(contenders[7].name(), "journal, 48 B");
        let judged = judge(&contenders, &blocks);
        let ratios: Vec<f64> = judged.iter().map(|block| block.figures[0].unwrap()).collect();
        assert_eq!(ratios, [1.0, 1.1, 1.2, 0.85, 0.7, 0.9, 0.95, 0.8, 1.0, 0.8]);
    }
}
