//! How the words of a payload get into a ring: one by one, in pairs, or by one instruction for all.
//! Each way is so many relaxed stores of a word, in whatever order, as far as any reader can tell.
use crate::sync::{AtomicU64, Ordering};

/// A word's bytes, where they come from.
pub(super) type WordBytes = [u8; 8];

/// How the words of a short payload are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// One by one: of a message that was just made, which the compiler has in registers. Loads of
    /// pairs would wait for the stores of its two halves.
    Word,
    /// Two by two, where the processor stores sixteen bytes at once: of messages that lie in memory
    /// for some time, as most of a batch do. It stores one or two values a cycle, however wide.
    Pair,
}

impl By {
    /// The faster way for what lies in memory for some time.
    pub(super) fn of_memory() -> By {
        #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
        if is_x86_feature_detected!("avx") {
            return By::Pair;
        }
        By::Word
    }
}

/// Stores words of a payload, relaxed, in whatever order. `words` may be more.
#[inline(always)]
pub(super) fn store(words: &[AtomicU64], values: &[WordBytes], by: By) {
    // In a test the writer may die between any two of them.
    #[cfg(test)]
    super::kill::store_payload(values.len(), |count| store_words(words, &values[..count], by));
    #[cfg(not(test))]
    store_words(words, values, by);
}

#[inline(always)]
fn store_words(words: &[AtomicU64], values: &[WordBytes], by: By) {
    assert!(values.len() <= words.len(), "a payload goes into its frame");
    if store_long(words, values) || (by == By::Pair && store_pairs(words, values)) {
        return;
    }
    for (word, value) in words.iter().zip(values) {
        word.store(u64::from_le_bytes(*value), Ordering::Relaxed);
    }
}

/// Stores words two by two where they begin at a pair's place; says whether it did.
///
/// Of an aligned store of sixteen bytes each half has to be whole, no more. Intel (SDM volume 3,
/// "Guaranteed Atomic Operations") promises for processors with AVX that all sixteen bytes are
/// stored at once by (V)MOVAPS, AMD (APM volume 2, "Access Atomicity") by aligned moves of processors
/// with AVX to cacheable memory, which files in shared memory are. Among other stores it has its
/// place as every store has.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[inline(always)]
fn store_pairs(words: &[AtomicU64], values: &[WordBytes]) -> bool {
    /// Copies that many pairs from and to.
    macro_rules! copy {
        ($words:expr, $values:expr, $($register:ident $at:literal),+) => {
            // SAFETY: both runs are borrowed and that long, and do not overlap, as nobody has a
            // reference to bytes of a ring that may be stored into. Where they go is aligned, as was
            // checked first. Each store is atomic, and they are ordered as relaxed stores at this
            // place would be. To the compiler this may read and write any memory, so it moves no
            // access across.
            unsafe {
                std::arch::asm!(
                    $(concat!("vmovups {", stringify!($register), "}, [{from} + ", $at, "]"),)+
                    $(concat!("vmovaps [{to} + ", $at, "], {", stringify!($register), "}"),)+
                    $($register = out(xmm_reg) _,)+
                    from = in(reg) $values.as_ptr(),
                    to = in(reg) $words.as_ptr(),
                    options(nostack, preserves_flags)
                );
            }
        };
    }
    if !words.as_ptr().addr().is_multiple_of(16) {
        return false;
    }
    let (lines, values) = values.as_chunks::<8>();
    let (line_words, words) = words.split_at(lines.len() * 8);
    for (words, values) in line_words.as_chunks::<8>().0.iter().zip(lines) {
        copy!(words, values, a 0, b 16, c 32, d 48);
    }
    match values.len() / 2 {
        0 => {}
        1 => copy!(words, values, a 0),
        2 => copy!(words, values, a 0, b 16),
        _ => copy!(words, values, a 0, b 16, c 32),
    }
    if let [last] = values.as_chunks::<2>().1 {
        words[values.len() - 1].store(u64::from_le_bytes(*last), Ordering::Relaxed);
    }
    true
}

/// Elsewhere, and where a tool looks at each store, there are no such instructions.
#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
#[inline(always)]
fn store_pairs(_words: &[AtomicU64], _values: &[WordBytes]) -> bool {
    false
}

/// Runs from so many words on are stored by [`store_long`]: below, the processor takes longer
/// to begin with it than to store word by word.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
const LONG_WORDS: usize = 64;

/// Stores a long run of words, in whatever order; says whether it did.
///
/// One instruction does what a loop of relaxed stores does. What the manuals promise of it, for
/// write-back memory as files in shared memory are (sections by name, as their numbers change):
///
/// - *Each word is whole.* Intel (SDM volume 1, "Fast-String Operation"): "atomicity of load and
///   store operations is guaranteed only for native data elements of the string with native data
///   size, and only if they are included in a single cache line". AMD (APM volume 2, "Access
///   Atomicity"): "naturally-aligned single loads or stores of up to a quadword are atomic". Here
///   the elements are quadwords, and where they go is aligned.
/// - *Among them there is no order.* Intel (SDM volume 3, "Fast-String Operation and Out-of-Order
///   Stores"): "stores within a single string operation may be executed out of order"; newer
///   editions of volume 1 add that they may be repeated. AMD says nothing of the kind; nothing here
///   needs it to.
/// - *Around them there is.* Intel (the same place of volume 3): "string operations are not
///   reordered with other store operations", and what depends on order is to "write to a discrete
///   semaphore variable after any string operations". AMD (APM volume 2, "Multiprocessor Memory
///   Access Ordering"): "stores do not pass previous stores"; the only exception that it makes for
///   string operations is for loads, which here are from what the publisher was given.
///
/// That is what both edges ask for. The commit word is such a semaphore: it is stored behind all of
/// these, so whoever sees it sees them (edge `commit`). The number is zeroed before all of them, so
/// a lossy reader that has any of these words in its copy, in whatever mixture with old ones, does
/// not find the number when it looks again, and drops the copy (edge `overrun`). It copies by plain
/// loads. A word that is stored twice has the same value both times, before the commit.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[inline(always)]
fn store_long(words: &[AtomicU64], values: &[WordBytes]) -> bool {
    if values.len() < LONG_WORDS {
        return false;
    }
    // SAFETY: both runs are borrowed and, as the caller has checked, at least `values.len()` words long, and they do not
    // overlap, as nobody has a reference to bytes of a ring that may be stored into. Each store is
    // atomic, and they are ordered as relaxed stores at this place would be: see above. To the
    // compiler this may read and write any memory, so it moves no access across. The direction flag
    // is clear, as it is wherever Rust code runs.
    unsafe {
        std::arch::asm!(
            "rep movsq",
            inout("rcx") values.len() => _,
            inout("rsi") values.as_ptr() => _,
            inout("rdi") words.as_ptr() => _,
            options(nostack, preserves_flags)
        );
    }
    true
}

/// Elsewhere, and where a tool looks at each store, there is no such instruction.
#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
#[inline(always)]
fn store_long(_words: &[AtomicU64], _values: &[WordBytes]) -> bool {
    false
}
