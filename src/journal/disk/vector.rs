//! The parts of a write as the kernel takes them.

use super::Part;

/// How many parts the kernel takes at once. Of a write that has more, the rest is left to the
/// caller, as what a short write leaves is.
const PARTS_MAX: usize = 1024;

/// Where the parts of a write lie, and a share of the memory that they lie in.
#[derive(Debug, Default)]
pub(super) struct Vector {
    parts: Vec<Part>,
    places: Vec<libc::iovec>,
}

// SAFETY: what keeps it from being sent are the addresses, and those are of memory that `parts`
// shares and that any thread may hold. Only the kernel follows them.
unsafe impl Send for Vector {}

impl Vector {
    /// Takes these parts in place of those it had.
    pub(super) fn set(&mut self, parts: &[Part]) {
        self.clear();
        self.parts.extend(parts.iter().take(PARTS_MAX).cloned());
        self.places.extend(self.parts.iter().map(|part| libc::iovec {
            iov_base: part.memory.address(part.at, part.bytes).cast(),
            iov_len: part.bytes as usize,
        }));
    }

    /// Gives the memory back. The room for the parts stays.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.parts.clear();
    }

    /// Where each part lies. Valid for as long as this is neither set, nor cleared, nor dropped; to
    /// be moved does it no harm.
    pub(super) fn places(&self) -> &[libc::iovec] {
        &self.places
    }
}
