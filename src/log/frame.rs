//! The frame: a 16-byte header and a payload, on a 64-byte boundary. Change the format here.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | commit word: low 32 bits of offset + 1, payload length 24 bits, kind 4 bits, flags 4 bits |
//! | 8 | 8 | timestamp, ns since the Unix epoch |
//! | 16 | length | payload, padded to the next multiple of 64 |
//!
//! All little-endian. A commit word of 0 means that nothing is committed there; as no kind has
//! code 0, a committed word is never 0.

use std::fmt;

/// Bytes of a cache line, and the alignment of every frame.
pub(crate) const LINE_BYTES: u64 = 64;

/// Bytes of a frame before its payload.
pub(crate) const HEADER_BYTES: u64 = 16;

/// Largest payload of a frame that is one line.
pub(crate) const TICK_BYTES_MAX: u64 = LINE_BYTES - HEADER_BYTES;

/// Index of the commit word among a frame's words.
pub(crate) const COMMIT_WORD: u64 = 0;

/// Index of the timestamp.
pub(crate) const TIMESTAMP_WORD: u64 = 1;

/// Index of the payload's first word.
pub(crate) const PAYLOAD_WORD: u64 = HEADER_BYTES / 8;

/// Largest payload that the commit word can state.
pub(crate) const LENGTH_MAX: u64 = (1 << 24) - 1;

/// Largest offset that is believed, so that counting on from it never overflows.
pub(crate) const OFFSET_MAX: u64 = 1 << 63;

/// Offset that no gap may reach: from there on there is room for 2^62 messages.
pub(crate) const GAP_OFFSET_MAX: u64 = 1 << 62;

/// Bytes of the total length that the first fragment of a train carries before its payload.
pub(crate) const TRAIN_PREFIX_BYTES: u64 = 8;

/// Bytes of a gap frame's payload: from, to and cause, a `u64` each.
pub(crate) const GAP_BYTES: u64 = 24;

/// Bytes that a frame with `length` bytes of payload takes in the log.
#[inline(always)]
pub(crate) const fn span(length: u64) -> u64 {
    (HEADER_BYTES + length + LINE_BYTES - 1) & !(LINE_BYTES - 1)
}

/// What a frame of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// A whole message.
    Message = 1,
    /// The first part of a message that does not fit into one block.
    First = 2,
    /// A part that is neither the first nor the last.
    Middle = 3,
    /// The last part.
    Last = 4,
    /// Ends a train whose publisher died; the train's offset is used again.
    Abort = 5,
    /// The unused rest of a block.
    Padding = 6,
    /// Stands for offsets that no message will come for.
    Gap = 7,
    /// Something between publishers, such as a sequencer's list of runs.
    Control = 8,
}

impl Kind {
    /// Whether the payload is a message's, or a part of one.
    #[inline(always)]
    pub(crate) const fn carries_payload(self) -> bool {
        matches!(self, Kind::Message | Kind::First | Kind::Middle | Kind::Last)
    }

    fn from_code(code: u64) -> Option<Kind> {
        Some(match code {
            1 => Kind::Message,
            2 => Kind::First,
            3 => Kind::Middle,
            4 => Kind::Last,
            5 => Kind::Abort,
            6 => Kind::Padding,
            7 => Kind::Gap,
            8 => Kind::Control,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Message => "message",
            Kind::First => "first",
            Kind::Middle => "middle",
            Kind::Last => "last",
            Kind::Abort => "abort",
            Kind::Padding => "padding",
            Kind::Gap => "gap",
            Kind::Control => "control",
        })
    }
}

/// Begins the payload of a control frame that says where the log goes on, with offsets that do not
/// follow: its position is next. Such a frame is in a journal's files, and in no ring.
#[cfg(not(loom))]
pub(crate) const JUMP: u64 = u64::from_le_bytes(*b"TICKJUMP");

/// Bytes of that payload.
#[cfg(not(loom))]
pub(crate) const JUMP_BYTES: u64 = 16;

/// The position that the payload of a control frame says.
#[cfg(not(loom))]
pub(crate) fn jump_of(payload: &[u8]) -> Option<u64> {
    let (magic, position) = payload.split_first_chunk()?;
    let position = u64::from_le_bytes(position.try_into().ok()?);
    (*magic == JUMP.to_le_bytes()).then_some(position)
}

/// Bits that say more about a message.
pub(crate) mod flags {
    /// The message was put here by a replay.
    pub(crate) const REPLAYED: u8 = 1;
    /// The message deletes its key when the log is compacted.
    pub(crate) const TOMBSTONE: u8 = 2;
}

/// A commit word that was read, not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitWord(pub(crate) u64);

impl CommitWord {
    #[inline(always)]
    pub(crate) const fn new(offset: u64, length: u64, kind: Kind, flags: u8) -> CommitWord {
        debug_assert!(length <= LENGTH_MAX);
        debug_assert!(flags < 16);
        CommitWord(
            (offset.wrapping_add(1) & 0xffff_ffff)
                | length << 32
                | (kind as u64) << 56
                | (flags as u64) << 60,
        )
    }

    #[inline(always)]
    pub(crate) const fn is_committed(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    pub(crate) const fn length(self) -> u64 {
        self.0 >> 32 & LENGTH_MAX
    }

    #[inline(always)]
    pub(crate) const fn span(self) -> u64 {
        span(self.length())
    }

    #[inline(always)]
    pub(crate) fn kind(self) -> Option<Kind> {
        Kind::from_code(self.0 >> 56 & 0xf)
    }

    /// True for a whole message with `offset` as its number: the one comparison that most frames
    /// need.
    #[inline(always)]
    pub(crate) const fn is_message_of(self, offset: u64) -> bool {
        let others = LENGTH_MAX << 32 | 0xf << 60;
        self.0 & !others == CommitWord::new(offset, 0, Kind::Message, 0).0
    }

    #[inline(always)]
    pub(crate) const fn flags(self) -> u8 {
        (self.0 >> 60) as u8
    }

    /// Whether the word's part of the offset agrees with `offset`.
    #[inline(always)]
    pub(crate) const fn has_offset(self, offset: u64) -> bool {
        self.0 as u32 == offset.wrapping_add(1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tick_takes_one_line() {
        assert_eq!(span(0), 64);
        assert_eq!(span(48), 64);
        assert_eq!(span(49), 128);
    }

    #[test]
    fn a_committed_word_is_never_zero() {
        let word = CommitWord::new(u64::from(u32::MAX), 0, Kind::Message, 0);
        assert!(word.is_committed());
        assert!(word.has_offset(u64::from(u32::MAX)));
    }

    proptest! {
        #[test]
        fn the_commit_word_gives_back_what_it_was_made_of(
            offset: u64, length in 0..=LENGTH_MAX, code in 1u64..=8, flags in 0u8..16,
        ) {
            let kind = Kind::from_code(code).expect("codes 1 to 8 are kinds");
            let word = CommitWord::new(offset, length, kind, flags);
            prop_assert!(word.is_committed());
            prop_assert!(word.has_offset(offset));
            prop_assert!(!word.has_offset(offset.wrapping_add(1)));
            prop_assert_eq!(word.length(), length);
            prop_assert_eq!(word.kind(), Some(kind));
            prop_assert_eq!(word.is_message_of(offset), kind == Kind::Message);
            prop_assert!(!word.is_message_of(offset.wrapping_add(1)));
            prop_assert_eq!(word.flags(), flags);
        }

        #[test]
        fn any_word_decodes_without_a_panic(word: u64) {
            let word = CommitWord(word);
            let _ = (word.kind(), word.flags());
            prop_assert!(word.span() >= LINE_BYTES);
        }
    }
}
