//! Memory made of atomic words, on the heap or mapped from a file. Everything that processes share
//! is reached through here, so this is the place where raw pointers become words and bytes.
//!
//! Ring memory knows only relaxed and acquire/release loads and stores of words: a reader that is
//! overrun while it copies sees old and new words mixed, which is defined behaviour, and finds out
//! by validation.

use std::fmt;
use std::sync::Arc;

#[cfg(not(loom))]
use std::{io, ptr::NonNull};

#[cfg(not(loom))]
use memmap2::{Advice, MmapMut, MmapRaw};

use super::store::{By, store};
#[cfg(not(loom))]
use crate::fork::{self, Generation};
#[cfg(not(loom))]
use crate::shm::map::{Access, Map};
use crate::sync::{AtomicU64, Ordering, fence};

/// Bytes of a huge page.
#[cfg(not(loom))]
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Bytes of a word.
pub(crate) const WORD_BYTES: u64 = 8;

/// A run of words that others may read and write at the same time. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Memory {
    #[cfg(not(loom))]
    base: NonNull<AtomicU64>,
    words: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    #[cfg(not(loom))]
    Heap { _lines: Arc<[Line]> },
    #[cfg(not(loom))]
    Map(Arc<Map>),
    #[cfg(not(loom))]
    Private { _pages: Arc<PrivatePages> },
    #[cfg(loom)]
    Heap { words: Arc<[AtomicU64]>, first: usize },
}

/// Pages that no forked child has.
#[cfg(not(loom))]
struct PrivatePages {
    /// `None` only while they are dropped.
    pages: Option<MmapRaw>,
    made_in: Generation,
}

#[cfg(not(loom))]
impl Drop for PrivatePages {
    fn drop(&mut self) {
        if !self.made_in.is_current() {
            // A forked child: nothing of ours is mapped at this address, something else may be.
            std::mem::forget(self.pages.take());
        }
    }
}

/// Heap memory is made of whole lines, so that frames are aligned as in a mapping.
#[cfg(not(loom))]
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    _words: [AtomicU64; 8],
}

/// What it is, and not all that it holds.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("words", &self.words).finish_non_exhaustive()
    }
}

// SAFETY: `base` points into memory that `owner` keeps alive and that is only ever accessed as
// atomic words, or as bytes under the contract of `bytes`, so any thread may hold and use it.
#[cfg(not(loom))]
unsafe impl Send for Memory {}
// SAFETY: as for `Send`; all shared access is atomic.
#[cfg(not(loom))]
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory of at least `bytes` on the heap.
    pub(crate) fn heap(bytes: u64) -> Memory {
        #[cfg(not(loom))]
        {
            let count = bytes.div_ceil(64) as usize;
            let lines: Arc<[Line]> = (0..count).map(|_| Line::default()).collect();
            let base = NonNull::from(&*lines).cast::<AtomicU64>();
            Memory { base, words: count * 8, owner: Owner::Heap { _lines: lines } }
        }
        #[cfg(loom)]
        {
            let words = bytes.div_ceil(WORD_BYTES) as usize;
            let heap: Arc<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
            Memory { words, owner: Owner::Heap { words: heap, first: 0 } }
        }
    }

    /// Zeroed memory of this process, at least `bytes` of it in whole pages: what a disk can be
    /// asked to read from or to write to without a copy. From 2 MiB on in huge pages where the
    /// kernel grants them: a disk that is asked for the pieces of memory one by one is twice as
    /// fast with those.
    ///
    /// # Errors
    /// When there is none left.
    #[cfg(not(loom))]
    pub(crate) fn pages(bytes: u64) -> io::Result<Memory> {
        fork::watch()?;
        let len = bytes.next_multiple_of(super::pages::PAGE_BYTES) as usize;
        // From the middle of a huge page on the kernel grants none.
        let slack = if len < HUGE_PAGE_BYTES { 0 } else { HUGE_PAGE_BYTES };
        let pages = MmapRaw::from(MmapMut::map_anon(len + slack)?);
        // A forked child that shares these pages until one of the two writes to them would take the
        // place at which the disk is at work.
        pages.advise(Advice::DontFork)?;
        let start = pages.as_mut_ptr();
        let base = match slack {
            0 => start,
            _ => start.map_addr(|start| start.next_multiple_of(HUGE_PAGE_BYTES)),
        };
        if slack > 0 {
            // A kernel that has none refuses, and small ones do.
            let _ = pages.advise(Advice::HugePage);
        }
        let base = NonNull::new(base).expect("a mapping is never at 0").cast();
        let pages = PrivatePages { pages: Some(pages), made_in: Generation::now() };
        let owner = Owner::Private { _pages: Arc::new(pages) };
        Ok(Memory { base, words: len / WORD_BYTES as usize, owner })
    }

    /// Where byte `at` lies, of which `bytes` follow: for the kernel. Whoever has it read from
    /// there or written to answers for the access, and keeps this memory until that is over.
    ///
    /// # Panics
    /// When that is not all in this memory.
    #[cfg(not(loom))]
    pub(crate) fn address(&self, at: u64, bytes: u64) -> *mut u8 {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.bytes_len()));
        self.base.as_ptr().cast::<u8>().wrapping_add(at as usize)
    }

    /// The memory of a mapping.
    #[cfg(not(loom))]
    pub(crate) fn mapped(map: Map) -> Memory {
        let words = map.len_bytes() / WORD_BYTES as usize;
        Memory { base: map.base(), words, owner: Owner::Map(Arc::new(map)) }
    }

    /// `bytes` from byte `at` on, as a memory of its own: what a mapping of one page is to that of
    /// the whole file.
    #[cfg(any(test, not(loom)))]
    pub(crate) fn part(&self, at: u64, bytes: u64) -> Memory {
        let words = self.words().run(at / WORD_BYTES, bytes / WORD_BYTES);
        #[cfg(not(loom))]
        return Memory {
            base: NonNull::from(words).cast(),
            words: words.len(),
            owner: self.owner.clone(),
        };
        #[cfg(loom)]
        {
            let Owner::Heap { words: heap, first } = &self.owner;
            let first = first + (at / WORD_BYTES) as usize;
            Memory { words: words.len(), owner: Owner::Heap { words: heap.clone(), first } }
        }
    }

    /// Size in bytes.
    pub(crate) fn bytes_len(&self) -> u64 {
        self.words as u64 * WORD_BYTES
    }

    /// Whether stores are possible; a store to a read-only mapping would be a fault.
    pub(crate) fn is_writable(&self) -> bool {
        match &self.owner {
            #[cfg(not(loom))]
            Owner::Map(map) => matches!(map.access(), Access::ReadWrite),
            Owner::Heap { .. } => true,
            #[cfg(not(loom))]
            Owner::Private { .. } => true,
        }
    }

    /// All words.
    #[inline(always)]
    pub(crate) fn words(&self) -> Words<'_> {
        #[cfg(not(loom))]
        // SAFETY: `base` and `words` say where memory lies that `owner` keeps alive for as long as
        // `self`; it is 8-byte aligned (mappings and lines are) and was initialised. All access is
        // atomic, or under the contract of `Words::bytes`, so no exclusive reference is in the way.
        return Words(unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) });
        #[cfg(loom)]
        {
            let Owner::Heap { words, first } = &self.owner;
            Words(&words[*first..][..self.words])
        }
    }

    /// The word at `index`: for a futex, and for adding to.
    pub(crate) fn word(&self, index: u64) -> &AtomicU64 {
        self.words().word(index)
    }

    /// Reads one word: see [`Words::load`].
    #[inline(always)]
    pub(crate) fn load(&self, index: u64, ordering: Ordering) -> u64 {
        self.words().load(index, ordering)
    }

    /// Writes one word: see [`Words::store`].
    #[inline(always)]
    pub(crate) fn store(&self, index: u64, value: u64, ordering: Ordering) {
        debug_assert!(self.is_writable());
        self.words().store(index, value, ordering);
    }
}

/// The words of a memory, borrowed. Everything that is done to words is done here, but for how a
/// payload is stored, which is in `store`.
///
/// Kept in a local variable it stays in registers, whereas the compiler loads what a [`Memory`]
/// says of itself anew after every atomic store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a>(&'a [AtomicU64]);

impl<'a> Words<'a> {
    /// How many there are.
    #[inline(always)]
    pub(crate) fn len(self) -> u64 {
        self.0.len() as u64
    }

    /// The word at `index`.
    #[inline(always)]
    pub(crate) fn word(self, index: u64) -> &'a AtomicU64 {
        match self.0.get(index as usize) {
            Some(word) => word,
            None => out_of_bounds(index, 1, self.0.len()),
        }
    }

    /// `count` words from `index` on, as words of their own: one check for all that is done to
    /// them.
    #[inline(always)]
    pub(crate) fn part(self, index: u64, count: u64) -> Words<'a> {
        Words(self.run(index, count))
    }

    /// The first `count` words, and those behind them; `None` where there are fewer.
    #[inline(always)]
    pub(crate) fn split(self, count: u64) -> Option<(Words<'a>, Words<'a>)> {
        let (first, behind) = self.0.split_at_checked(count as usize)?;
        Some((Words(first), Words(behind)))
    }

    #[inline(always)]
    fn from(self, index: u64) -> &'a [AtomicU64] {
        match self.0.get(index as usize..) {
            Some(words) => words,
            None => out_of_bounds(index, 0, self.0.len()),
        }
    }

    #[inline(always)]
    fn run(self, index: u64, count: u64) -> &'a [AtomicU64] {
        match self.0.get(index as usize..index.saturating_add(count) as usize) {
            Some(words) => words,
            None => out_of_bounds(index, count, self.0.len()),
        }
    }

    /// The first `N` words.
    #[inline(always)]
    pub(crate) fn first<const N: usize>(self) -> &'a [AtomicU64; N] {
        match self.0.first_chunk() {
            Some(words) => words,
            None => out_of_bounds(0, N as u64, self.0.len()),
        }
    }

    /// Reads one word, relaxed or with acquire.
    ///
    /// Acquire is a relaxed load and a fence, since of all atomic accesses only relaxed loads are
    /// defined on memory that is mapped read-only (`std::sync::atomic`, "Atomic accesses to
    /// read-only memory"). On x86-64 both are a plain move.
    #[inline(always)]
    pub(crate) fn load(self, index: u64, ordering: Ordering) -> u64 {
        debug_assert!(matches!(ordering, Ordering::Relaxed | Ordering::Acquire));
        let value = self.word(index).load(Ordering::Relaxed);
        if matches!(ordering, Ordering::Acquire) {
            fence(Ordering::Acquire);
        }
        value
    }

    /// Asks for the line of word `index` to be brought here for writing, and does not wait.
    #[inline(always)]
    pub(crate) fn prefetch_for_write(self, index: u64) {
        let word = self.word(index);
        #[cfg(all(not(any(loom, miri)), target_arch = "x86_64"))]
        // SAFETY: a hint, which neither reads nor writes, at the address of a borrowed word.
        unsafe {
            std::arch::asm!(
                "prefetchw [{}]",
                in(reg) word,
                options(nostack, preserves_flags, readonly)
            );
        }
        #[cfg(any(loom, miri, not(target_arch = "x86_64")))]
        let _ = word;
    }

    /// Writes one word. To memory that is mapped read-only it would be a segmentation fault.
    #[inline(always)]
    pub(crate) fn store(self, index: u64, value: u64, ordering: Ordering) {
        #[cfg(test)]
        super::kill::before_store(ordering);
        self.word(index).store(value, ordering);
    }

    /// Writes `bytes` from word `index` on, as relaxed word stores; the last word is filled with
    /// zeroes.
    ///
    /// Where the length is a constant at the place of the call (typed publishing), this becomes
    /// that many plain moves: each is a relaxed store a word, which keeps a lossy reader's race
    /// defined. Long payloads are stored by other instructions to the same effect, see
    /// [`store`](super::store).
    #[inline(always)]
    pub(crate) fn store_bytes(self, index: u64, bytes: &[u8]) {
        self.store_bytes_by(By::Word, index, bytes);
    }

    /// As [`Words::store_bytes`], where short ones may be stored in pairs.
    #[inline(always)]
    pub(crate) fn store_bytes_by(self, by: By, index: u64, bytes: &[u8]) {
        let words = self.run(index, bytes.len().div_ceil(WORD_BYTES as usize) as u64);
        let (whole, rest) = bytes.as_chunks::<{ WORD_BYTES as usize }>();
        store(words, whole, by);
        if !rest.is_empty() {
            let mut last = [0; WORD_BYTES as usize];
            last[..rest.len()].copy_from_slice(rest);
            store(&words[whole.len()..], &[last], by);
        }
    }

    /// Writes `bytes` at byte `at`, wherever that lies in a word. The bytes around them stay: the
    /// caller is the only one who stores here, so a load and a store will do.
    #[inline(always)]
    pub(crate) fn patch_bytes(self, at: u64, bytes: &[u8]) {
        let before = (at.next_multiple_of(WORD_BYTES) - at) as usize;
        let (head, rest) = bytes.split_at(before.min(bytes.len()));
        let (whole, tail) = rest.split_at(rest.len() / WORD_BYTES as usize * WORD_BYTES as usize);
        self.patch_word(at, head);
        let at = at + head.len() as u64;
        self.store_bytes(at / WORD_BYTES, whole);
        self.patch_word(at + whole.len() as u64, tail);
    }

    /// Writes `bytes` at byte `at`; all of them lie in one word.
    #[inline(always)]
    fn patch_word(self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let index = at / WORD_BYTES;
        let place = (at % WORD_BYTES) as usize;
        let mut word = self.load(index, Ordering::Relaxed).to_le_bytes();
        word[place..place + bytes.len()].copy_from_slice(bytes);
        self.store(index, u64::from_le_bytes(word), Ordering::Relaxed);
    }

    /// Copies words from `index` on into `to`, as relaxed loads.
    #[inline(always)]
    pub(crate) fn load_words(self, index: u64, to: &mut [u64]) {
        let words = self.run(index, to.len() as u64);
        for (to, word) in to.iter_mut().zip(words) {
            *to = word.load(Ordering::Relaxed);
        }
    }

    /// Copies `count` words from `index` on to where `to` has them at `to_index`.
    #[inline(always)]
    pub(crate) fn copy_words(self, index: u64, count: u64, to: Words<'_>, to_index: u64) {
        let (from, to) = (self.run(index, count), to.run(to_index, count));
        for (to, from) in to.iter().zip(from) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The `length` bytes from word `index` on, in place.
    ///
    /// # Safety
    /// Nobody may write to any of these bytes for as long as the slice lives, and their last
    /// write must happen before this call.
    #[inline(always)]
    pub(crate) unsafe fn bytes(self, index: u64, length: u64) -> &'a [u8] {
        let words = self.from(index);
        if length > words.len() as u64 * WORD_BYTES {
            out_of_bounds(index, length.div_ceil(WORD_BYTES), self.0.len());
        }
        #[cfg(not(loom))]
        // SAFETY: the words have `length` initialised bytes; the caller says that nobody writes to
        // them meanwhile, and atomics have no padding.
        return unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), length as usize) };
        // Loom's atomics have no bytes to lend: they are read as plain memory, so that a store that
        // is not ordered before or after is reported, and lent from a copy that a model never
        // frees.
        #[cfg(loom)]
        {
            // SAFETY: loom keeps the value under a lock of its own; a race is reported, not run.
            let words = words.iter().take(length.div_ceil(WORD_BYTES) as usize);
            let bytes = words.flat_map(|word| unsafe { word.unsync_load() }.to_le_bytes());
            &bytes.collect::<Vec<u8>>().leak()[..length as usize]
        }
    }
}

/// Out of line and with its arguments by value, so that a check costs the hot path one comparison.
#[cold]
#[inline(never)]
fn out_of_bounds(index: u64, count: u64, words: usize) -> ! {
    panic!("words from {index} on, {count} of them, of memory that has {words}");
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::super::kill;
    use super::*;

    proptest! {
        #[test]
        fn bytes_come_back_and_touch_nothing_else(
            bytes in prop::collection::vec(any::<u8>(), 0..200), index in 0u64..32,
        ) {
            let memory = Memory::heap(64 * 8);
            for at in 0..64 {
                memory.store(at, u64::MAX, Ordering::Relaxed);
            }
            memory.words().store_bytes(index, &bytes);
            // SAFETY: this thread alone knows the memory, and does not write any more.
            let read = unsafe { memory.words().bytes(index, bytes.len() as u64) };
            prop_assert_eq!(read, &bytes[..]);
            let end = index + (bytes.len() as u64).div_ceil(8);
            for at in (0..index).chain(end..64) {
                prop_assert_eq!(memory.load(at, Ordering::Relaxed), u64::MAX);
            }
            let mut words = vec![0; bytes.len().div_ceil(8)];
            memory.words().load_words(index, &mut words);
            let copied: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            prop_assert_eq!(&copied[..bytes.len()], &bytes[..]);
        }
    }

    /// Long payloads and short ones, which are stored by other code, against a copy of bytes.
    #[test]
    fn every_length_is_stored_as_a_copy_is_and_nothing_else() {
        if By::of_memory() == By::Word {
            println!("skipped: stores in pairs, which this processor does not have");
        }
        const BYTES_MAX: usize = 4096;
        let source: Vec<u8> =
            (0..BYTES_MAX as u64 + 8).map(|at| ((at * 167) >> 3) as u8 | 1).collect();
        // From a place in the first line on, up to a line behind the last.
        let memory = Memory::heap(BYTES_MAX as u64 + 3 * 64);
        let mut words = vec![0; memory.bytes_len() as usize / 8];
        for length in 0..=BYTES_MAX {
            for index in 0..8 {
                // In a line every alignment that words can have; of the source, each in turn.
                let bytes = &source[(length + length / 8 + index) % 8..][..length];
                let mut expected = vec![0xff; memory.bytes_len() as usize];
                expected[index * 8..][..length.next_multiple_of(8)].fill(0);
                expected[index * 8..][..length].copy_from_slice(bytes);
                for by in [By::Word, By::of_memory()] {
                    let all = memory.words().0.iter();
                    all.for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
                    memory.words().store_bytes_by(by, index as u64, bytes);
                    memory.words().load_words(0, &mut words);
                    assert!(words.as_bytes() == expected, "{length} bytes at word {index}, {by:?}");
                }
            }
        }
    }

    /// Where a writer dies in a payload of any length, the words before are stored and those behind
    /// are not.
    #[test]
    fn a_writer_dies_between_any_two_words() {
        let short = [1, 2, 5, 6, 7, 8, 20].map(|count| (By::of_memory(), count));
        let long = [1, 6, 63, 64, 65, 200].map(|count| (By::Word, count));
        for (by, count) in short.into_iter().chain(long) {
            let bytes = vec![7; count * 8 - 3];
            for stores in 0..=count {
                let memory = Memory::heap(count as u64 * 8);
                let store = || memory.words().store_bytes_by(by, 0, &bytes);
                let lived = kill::after(stores as u64, store).is_some();
                assert_eq!(lived, stores == count);
                let stored = |at: &usize| memory.load(*at as u64, Ordering::Relaxed) != 0;
                assert_eq!((0..count).take_while(stored).count(), stores);
                assert_eq!((0..count).filter(stored).count(), stores);
            }
        }
    }

    #[test]
    #[should_panic(expected = "words from 64 on, 1 of them, of memory that has 64")]
    fn a_word_past_the_end_is_our_bug() {
        Memory::heap(512).load(64, Ordering::Relaxed);
    }
}
