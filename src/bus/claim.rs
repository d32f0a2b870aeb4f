//! A place in the log that is filled before it is published.

use zerocopy::{Immutable, IntoBytes};

use crate::log::writer::Writer;

/// Room for one message, to be filled in place by [`put`](Claim::put) and published by
/// [`commit`](Claim::commit). Dropped without that, it leaves no trace.
///
/// Bytes that were not put are unspecified: they may be an older message's.
///
/// # Examples
/// ```no_run
/// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
/// # let mut publisher = topic.publisher(0)?;
/// let mut claim = publisher.claim(12)?;
/// claim.put(0, &42_u64);
/// claim.put(8, b"BUY ");
/// let offset = claim.commit(tickcast::runtime::clock::now_ns());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a claim that is dropped publishes nothing"]
pub struct Claim<'a> {
    writer: &'a mut Writer,
    length: u64,
}

impl<'a> Claim<'a> {
    /// The writer has made room for `length` bytes.
    pub(crate) fn new(writer: &'a mut Writer, length: u64) -> Claim<'a> {
        Claim { writer, length }
    }

    /// Size in bytes.
    #[expect(
        clippy::len_without_is_empty,
        reason = "whether a claim is empty was its caller's wish"
    )]
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Writes `value`, a slice of bytes or any `zerocopy` type, `at` bytes from the start.
    ///
    /// # Panics
    /// When it would reach past the claim's end.
    #[inline]
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, at: usize, value: &T) {
        let bytes = value.as_bytes();
        let end = at.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.len()),
            "{} bytes at {at} reach past the end of a claim of {} bytes",
            bytes.len(),
            self.length,
        );
        self.writer.put(at as u64, bytes);
    }

    /// Publishes the message and returns its offset.
    #[inline]
    pub fn commit(self, timestamp_ns: u64) -> u64 {
        self.writer.commit_claim(timestamp_ns, self.length)
    }
}
