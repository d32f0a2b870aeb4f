//! The journal's files once more, after `docs/journal.md` alone: a bare loop over blocks in memory,
//! and blocks that are made without a journal.

/// Bytes of a block, and of the part of it that a search reads.
pub(super) const BLOCK_BYTES: usize = 1 << 16;
pub(super) const PAGE_BYTES: usize = 4096;

/// Messages of 48 bytes in a block, each in a line.
pub(super) const BLOCK_MESSAGES: u64 = block_messages(LINE_BYTES);

const LINE_BYTES: usize = 64;
const HEADER_BYTES: usize = 128;
const PAYLOAD_AT: usize = 16;
const PAYLOAD_BYTES: u64 = 48;
/// Where the slots of checkpoints lie.
const SLOTS: [usize; 2] = [64, 96];
const SLOT_BYTES: usize = 32;

const MAGIC: u64 = u64::from_le_bytes(*b"TICKBLK\x01");
const KIND_MESSAGE: u64 = 1;

/// Messages in a block, each in a frame of so many bytes.
pub(super) const fn block_messages(frame_bytes: usize) -> u64 {
    ((BLOCK_BYTES - HEADER_BYTES) / frame_bytes) as u64
}

/// What a walk has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Walked {
    pub(super) messages: u64,
    /// Of the first word of each payload.
    pub(super) sum: u64,
}

impl Walked {
    /// Checks a block, and goes over its messages. False where there is none, or it is damaged.
    #[inline]
    pub(super) fn add(&mut self, block: &[u8; BLOCK_BYTES]) -> bool {
        if word(block, 0) != MAGIC {
            return false;
        }
        let newest = SLOTS.into_iter().max_by_key(|at| word(block, at + 16)).expect("two slots");
        let used = half(block, newest) as usize;
        if !(HEADER_BYTES..=BLOCK_BYTES).contains(&used)
            || half(block, newest + 4) != crc(block, used)
        {
            return false;
        }
        let mut at = HEADER_BYTES;
        let Self { mut messages, mut sum } = *self;
        while at < used {
            let commit = word(block, at);
            if commit >> 56 & 15 == KIND_MESSAGE {
                messages += 1;
                sum = sum.wrapping_add(word(block, at + PAYLOAD_AT));
            }
            let payload_bytes = (commit >> 32 & 0xFF_FFFF) as usize;
            at += (PAYLOAD_AT + payload_bytes).next_multiple_of(LINE_BYTES);
        }
        *self = Self { messages, sum };
        true
    }
}

/// A log whose messages all have 48 bytes; the first one has timestamp 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    pub(super) id: [u64; 2],
    /// How far timestamps are apart.
    pub(super) interval_ns: u64,
}

impl Log {
    pub(super) fn timestamp_ns(&self, offset: u64) -> u64 {
        offset * self.interval_ns
    }

    /// The offset that block `number` begins with.
    pub(super) fn first_offset(number: u64) -> u64 {
        number * BLOCK_MESSAGES
    }

    /// The highest timestamp before block `number`.
    pub(super) fn timestamp_max_ns(&self, number: u64) -> u64 {
        self.timestamp_ns(Self::first_offset(number).saturating_sub(1))
    }

    /// A whole block. The first word of each payload is the message's offset.
    pub(super) fn block(&self, number: u64) -> Vec<u8> {
        let mut block = self.header(number);
        let frames = block[HEADER_BYTES..].chunks_exact_mut(LINE_BYTES);
        for (offset, frame) in (Self::first_offset(number)..).zip(frames) {
            let commit = (offset + 1) & 0xFFFF_FFFF | PAYLOAD_BYTES << 32 | KIND_MESSAGE << 56;
            put(frame, [commit, self.timestamp_ns(offset), offset]);
        }
        Self::vouch(&mut block, number);
        block
    }

    /// The first page of a block, without its frames: enough for a search to go by.
    pub(super) fn first_page(&self, number: u64) -> Vec<u8> {
        let mut block = self.header(number);
        Self::vouch(&mut block, number);
        block.truncate(PAGE_BYTES);
        block
    }

    /// A block that holds a header and nothing else.
    fn header(&self, number: u64) -> Vec<u8> {
        let (first, time_ns) = (Self::first_offset(number), self.timestamp_max_ns(number));
        let [id, id_more] = self.id;
        let (epoch, first_message) = (1, HEADER_BYTES as u64);
        let mut block = vec![0; BLOCK_BYTES];
        put(&mut block, [MAGIC, id, id_more, number + 1, first, time_ns, epoch, first_message]);
        block
    }

    /// Adds the checkpoint of a full block.
    fn vouch(block: &mut [u8], number: u64) {
        let used = BLOCK_BYTES as u64;
        let crc =
            crc32c::crc32c_append(crc32c::crc32c(&block[..LINE_BYTES]), &block[HEADER_BYTES..]);
        let (line, rest) = block.split_at_mut(LINE_BYTES);
        let slot = &mut rest[..SLOT_BYTES];
        put(slot, [u64::from(crc) << 32 | used, number * used, number + 1]);
        let (says, own) = slot.split_at_mut(SLOT_BYTES - 4);
        let crc = crc32c::crc32c_append(crc32c::crc32c(line), says);
        own.copy_from_slice(&crc.to_le_bytes());
    }
}

fn put<const WORDS: usize>(bytes: &mut [u8], words: [u64; WORDS]) {
    for (at, word) in bytes.chunks_exact_mut(8).zip(words) {
        at.copy_from_slice(&word.to_le_bytes());
    }
}

/// Of the used bytes without line 1.
fn crc(block: &[u8; BLOCK_BYTES], used: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..LINE_BYTES]), &block[HEADER_BYTES..used])
}

#[inline(always)]
fn word(block: &[u8; BLOCK_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"))
}

#[inline(always)]
fn half(block: &[u8; BLOCK_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(block: &[u8], walked: &mut Walked) -> bool {
        walked.add(block.try_into().unwrap())
    }

    #[test]
    fn what_is_made_is_what_is_walked_over() {
        let log = Log { id: [1, 2], interval_ns: 10 };
        let mut walked = Walked::default();
        assert!(walk(&log.block(0), &mut walked) && walk(&log.block(1), &mut walked));
        let messages = 2 * BLOCK_MESSAGES;
        assert_eq!(walked, Walked { messages, sum: messages * (messages - 1) / 2 });
        let mut damaged = log.block(2);
        damaged[5_000] ^= 1;
        assert!(!walk(&damaged, &mut walked));
        assert!(!walk(&[0; BLOCK_BYTES], &mut walked));
        assert_eq!(walked.messages, messages, "nothing of them counts");
    }
}
