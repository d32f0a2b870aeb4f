//! The one door to atomics: the standard library's, or loom's when a model is checked
//! (`RUSTFLAGS="--cfg loom"`). Change here what every synchronisation edge is built from.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// The publisher's half of the asymmetric barrier: orders its commit store before its load of the
/// wake word, as far as the compiler goes.
///
/// The processor's half is supplied by the sleeper: its [`heavy_fence`] makes every registered
/// running thread execute a full barrier, wherever it stands. So the publisher pays nothing. Loom
/// has no such call; there both halves are full fences, which is what the pair amounts to.
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// The sleeper's half of the asymmetric barrier; see [`light_fence`]. False when the kernel
/// refuses it: then nothing may rely on the pair.
pub(crate) fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    #[cfg(loom)]
    return true;
    #[cfg(not(loom))]
    crate::shm::futex::membarrier::everywhere()
}
