//! Auditing what a subscriber hands out: every offset once and in order, every byte in place.

use std::time::Instant;

use tickcast::{Event, Message, Notice, NoticeKind, Publisher, Subscriber};

use super::child::HANGING;
use super::payload::{is_payload, length_of, payload};

/// What came so far of one partition whose payloads are functions of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    stream: u64,
    bytes_max: u64,
    /// Offset of the next message; `None`: whatever comes first.
    pub(crate) due: Option<u64>,
    pub(crate) messages: u64,
    pub(crate) fragmented: u64,
    pub(crate) lost: u64,
    pub(crate) losses: u64,
    pub(crate) gone: u64,
    pub(crate) back: u64,
    pub(crate) evicted: u64,
    /// Epoch that was told last.
    pub(crate) epoch: u64,
}

impl Audit {
    pub(crate) fn new(stream: u64, bytes_max: u64, due: Option<u64>) -> Audit {
        Audit { stream, bytes_max, due, ..Audit::default() }
    }

    pub(crate) fn message(&mut self, message: &Message<'_>) {
        let Message { offset, timestamp_ns, payload, .. } = *message;
        if let Some(due) = self.due {
            assert_eq!(offset, due, "a message is lost, repeated or out of order");
        }
        assert_eq!(timestamp_ns, timestamp_of(offset), "message {offset} has another's timestamp");
        let length = length_of(offset, self.bytes_max);
        assert_eq!(payload.len(), length, "message {offset} has another's length");
        assert!(is_payload(payload, self.stream, offset), "message {offset} is torn");
        self.due = Some(offset + 1);
        self.messages += 1;
        self.fragmented += u64::from(length as u64 > super::payload::FRAME_PAYLOAD_BYTES_MAX);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        match notice.kind {
            NoticeKind::Lost { from, to, .. } => {
                assert!(to >= from);
                assert_eq!(Some(from), self.due, "the loss is not the exact one");
                self.due = Some(to + 1);
                self.lost += to - from + 1;
                self.losses += 1;
            }
            NoticeKind::PublisherGone => {
                assert_eq!(self.gone, self.back, "a death was told twice");
                self.gone += 1;
            }
            NoticeKind::PublisherBack { epoch } => {
                self.back += 1;
                assert_eq!(self.gone, self.back, "a return was told without a death");
                assert!(epoch > self.epoch, "epoch {epoch} after {}", self.epoch);
                self.epoch = epoch;
            }
            NoticeKind::Evicted => self.evicted += 1,
            kind => panic!("{kind} where message {:?} was due", self.due),
        }
    }

    pub(crate) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Message(message) => self.message(&message),
            Event::Notice(notice) => self.notice(notice),
        }
    }

    /// Polls until message `end` is due.
    pub(crate) fn read_to(&mut self, subscriber: &mut Subscriber, end: u64) {
        let started = Instant::now();
        while self.due < Some(end) {
            if subscriber.poll(256, |event| self.event(event)) == 0 {
                assert!(started.elapsed() < HANGING, "{self:?} never reaches {end}");
                std::thread::yield_now();
            }
        }
    }
}

/// Publishes messages up to `end`, as an [`Audit`] knows them.
pub(crate) fn publish(publisher: &mut Publisher, end: u64) {
    let bytes_max = publisher.topic().message_bytes_max();
    for offset in publisher.next_offset()..end {
        let bytes = payload(publisher.partition().into(), offset, length_of(offset, bytes_max));
        publisher.publish(timestamp_of(offset), &bytes[..]).expect("published");
    }
}

/// Timestamp of message `offset`.
pub(crate) fn timestamp_of(offset: u64) -> u64 {
    1_000_000 + 3 * offset
}
