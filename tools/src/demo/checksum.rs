//! The checksum over what was played: change here what counts as the same messages in the same
//! order.

/// An odd number with about as many ones as zeros: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A running 64-bit checksum over offset, length and bytes of every message.
///
/// Each step is a bijection, of the state for a given word and of the word for a given state. So
/// two runs that differ in one word always differ in the end; others differ but for one chance in
/// 2^64. It guards against errors, not against an adversary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checksum(u64);

impl Checksum {
    /// Adds the message at `offset`.
    #[inline]
    pub(super) fn add(&mut self, offset: u64, payload: &[u8]) {
        self.step(offset);
        self.step(payload.len() as u64);
        let (words, rest) = payload.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.step(u64::from_le_bytes(last));
        }
    }

    /// The checksum of all that was added.
    pub(super) fn value(self) -> u64 {
        self.0
    }

    #[inline]
    fn step(&mut self, word: u64) {
        // The first rotation carries high bits, which multiplying only moves up, down again.
        self.0 = (self.0.rotate_left(27) ^ word).wrapping_mul(MULTIPLIER) ^ MULTIPLIER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(messages: impl IntoIterator<Item = (u64, &'a [u8])>) -> u64 {
        let mut checksum = Checksum::default();
        messages.into_iter().for_each(|(offset, payload)| checksum.add(offset, payload));
        checksum.value()
    }

    #[test]
    fn every_single_bit_counts() {
        let payload = [0; 21];
        let whole = of([(0, &payload[..]), (1, b"next")]);
        for bit in 0..payload.len() * 8 {
            let mut changed = payload;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of([(0, &changed[..]), (1, b"next")]), whole, "bit {bit}");
        }
    }

    #[test]
    fn lengths_offsets_and_order_count() {
        let whole = of([(0, &b"ab"[..]), (1, b"c")]);
        assert_ne!(of([(0, &b"a"[..]), (1, b"bc")]), whole, "cut elsewhere");
        assert_ne!(of([(0, &b"ab\0"[..]), (1, b"c")]), whole, "a zero more");
        assert_ne!(of([(0, &b"c"[..]), (1, b"ab")]), whole, "swapped");
        assert_ne!(of([(1, &b"c"[..]), (0, b"ab")]), whole, "swapped with their offsets");
        assert_ne!(of([(0, &b"ab"[..]), (2, b"c")]), whole, "another offset");
        assert_ne!(of([(0, &b"ab"[..])]), whole, "one less");
        assert_ne!(of([(0, &b"ab"[..]), (1, b"c"), (2, b"")]), whole, "an empty one more");
        assert_eq!(of([(0, &b"ab"[..]), (1, b"c")]), whole);
    }
}
