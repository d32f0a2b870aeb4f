//! What a subscriber received, and whether that is what was played: change here what is verified.

use std::fmt;

use serde::{Deserialize, Serialize};
use tickcast::{Event, Notice};

use super::checksum::Checksum;
use super::latency::Distribution;
use super::tape::Tape;

/// Notices beyond these are only counted.
const NOTICES_KEPT: usize = 4;

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Received {
    messages: u64,
    checksum: Checksum,
    /// The offset after the last message's.
    next_offset: u64,
    out_of_order: Option<OutOfOrder>,
    notices: u64,
    notices_kept: Vec<String>,
}

/// The first message that was not the one after its predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutOfOrder {
    expected: u64,
    found: u64,
}

/// What a subscriber reports in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) messages: u64,
    checksum: u64,
    out_of_order: Option<OutOfOrder>,
    notices: u64,
    notices_kept: Vec<String>,
    pub(super) latency: Distribution,
    /// When it had the last message, ns since the Unix epoch.
    pub(super) last_ns: u64,
}

/// What must be received: so many messages, with this checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) messages: u64,
    pub(super) checksum: u64,
}

/// How what was received differs from what was played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    Count { played: u64, received: u64 },
    Order(OutOfOrder),
    Bytes { played: u64, received: u64 },
    Notices { count: u64, first: String },
}

impl Played {
    /// The first `messages` of the looped `tape`.
    pub(super) fn of(tape: &Tape, messages: u64) -> Self {
        Self { messages, checksum: tape.checksum(messages) }
    }
}

impl Received {
    /// Takes an event in.
    #[inline]
    pub(super) fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Message(message) => self.message(message.offset, message.payload),
            Event::Notice(notice) => self.notice(notice),
        }
    }

    /// The offset after that of the last message.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    pub(super) fn outcome(self, latency: Distribution, last_ns: u64) -> Outcome {
        Outcome {
            messages: self.messages,
            checksum: self.checksum.value(),
            out_of_order: self.out_of_order,
            notices: self.notices,
            notices_kept: self.notices_kept,
            latency,
            last_ns,
        }
    }

    #[inline]
    fn message(&mut self, offset: u64, payload: &[u8]) {
        if offset != self.next_offset && self.out_of_order.is_none() {
            self.out_of_order = Some(OutOfOrder { expected: self.next_offset, found: offset });
        }
        self.next_offset = offset + 1;
        self.messages += 1;
        self.checksum.add(offset, payload);
    }

    /// Each is a failure: nothing may be lost, and the publisher stays to the end.
    #[cold]
    fn notice(&mut self, notice: &Notice) {
        self.notices += 1;
        if self.notices_kept.len() < NOTICES_KEPT {
            self.notices_kept.push(notice.to_string());
        }
    }
}

impl Outcome {
    /// How it differs from `played`; nothing if every message came, in order and unchanged.
    pub(super) fn differences(&self, played: Played) -> Vec<Difference> {
        let mut differences = Vec::new();
        if let Some(first) = self.notices_kept.first() {
            differences.push(Difference::Notices { count: self.notices, first: first.clone() });
        }
        if let Some(out_of_order) = self.out_of_order {
            differences.push(Difference::Order(out_of_order));
        }
        if self.messages != played.messages {
            let (played, received) = (played.messages, self.messages);
            differences.push(Difference::Count { played, received });
        }
        if self.checksum != played.checksum {
            let (played, received) = (played.checksum, self.checksum);
            differences.push(Difference::Bytes { played, received });
        }
        differences
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { played, received } => {
                write!(f, "{received} messages received, {played} played")
            }
            Self::Order(OutOfOrder { expected, found }) => {
                write!(f, "message {found} came where {expected} was next")
            }
            Self::Bytes { played, received } => {
                write!(f, "checksum {received:016x}, of what was played {played:016x}")
            }
            Self::Notices { count, first } => write!(f, "{count} notices, the first: {first}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickcast::{NoticeKind, Origin};

    const LATENCY: Distribution =
        Distribution { samples: 0, p50_ns: None, p99_ns: None, p99_9_ns: None, max_ns: None };

    /// What is found wrong when `change` is done on the way to a tape that is played more than
    /// once.
    fn differences(change: impl FnOnce(&mut Vec<(u64, Vec<u8>)>)) -> Vec<Difference> {
        let tape = Tape::generated();
        let messages = tape.len() + 1000;
        let mut on_the_way: Vec<(u64, Vec<u8>)> =
            (0..messages).map(|offset| (offset, tape.message(offset).to_vec())).collect();
        change(&mut on_the_way);
        let mut received = Received::default();
        on_the_way.iter().for_each(|(offset, payload)| received.message(*offset, payload));
        received.outcome(LATENCY, 0).differences(Played::of(&tape, messages))
    }

    #[test]
    fn what_arrives_as_it_was_played_passes() {
        assert_eq!(differences(|_| ()), []);
    }

    #[test]
    fn a_lost_message_is_found() {
        let found = differences(|messages| drop(messages.remove(700)));
        let order = Difference::Order(OutOfOrder { expected: 700, found: 701 });
        assert!(found.contains(&order), "{found:?}");
        assert!(matches!(found[1], Difference::Count { .. }), "{found:?}");
        assert!(matches!(found[2], Difference::Bytes { .. }), "{found:?}");
    }

    #[test]
    fn the_loss_of_the_last_message_is_found() {
        let found = differences(|messages| drop(messages.pop()));
        assert!(
            matches!(found[..], [Difference::Count { .. }, Difference::Bytes { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_repeated_message_is_found() {
        let found = differences(|messages| messages.insert(9, messages[8].clone()));
        let order = Difference::Order(OutOfOrder { expected: 9, found: 8 });
        assert!(found.contains(&order), "{found:?}");
    }

    #[test]
    fn swapped_messages_are_found_with_and_without_their_offsets() {
        let found = differences(|messages| messages.swap(100, 101));
        let order = Difference::Order(OutOfOrder { expected: 100, found: 101 });
        assert!(found.contains(&order), "{found:?}");
        let found = differences(|messages| {
            messages.swap(100, 101);
            (messages[100].0, messages[101].0) = (100, 101);
        });
        assert!(matches!(found[..], [Difference::Bytes { .. }]), "{found:?}");
    }

    #[test]
    fn a_torn_message_is_found() {
        let found = differences(|messages| {
            let newer = messages[5001].1.clone();
            let older = &mut messages[5000].1;
            let half = older.len().min(newer.len()) / 2;
            assert_ne!(older[..half], newer[..half], "the tear must show");
            older[..half].copy_from_slice(&newer[..half]);
        });
        assert!(matches!(found[..], [Difference::Bytes { .. }]), "{found:?}");
        let found = differences(|messages| messages[5000].1.truncate(10));
        assert!(matches!(found[..], [Difference::Bytes { .. }]), "{found:?}");
    }

    #[test]
    fn a_notice_is_a_failure_though_everything_came() {
        let mut received = Received::default();
        let kind = NoticeKind::PublisherGone;
        received.take(&Event::Notice(Notice { kind, origin: Origin::default() }));
        let found = received
            .outcome(LATENCY, 0)
            .differences(Played { messages: 0, checksum: Checksum::default().value() });
        assert!(matches!(found[..], [Difference::Notices { count: 1, .. }]), "{found:?}");
    }
}
