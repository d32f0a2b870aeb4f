//! Sleeping on a word of shared memory until another process changes it.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("tickcast needs a little-endian 64-bit target: its futex is the low half of a u64");

/// The longest sleep where the kernel offers no waiting.
const SLEEP_MAX: Duration = Duration::from_millis(1);

/// `FUTEX_WAITV_MAX` of the kernel.
const WAITERS_MAX: usize = 128;

/// Sleeps while the low half of `word` is `expected`, at most `timeout`.
///
/// `false` says that the time is over. `true` says no more than "look again": the word was woken or
/// differs, a signal came, or the kernel would not wait and this was a sleep of at most 1 ms.
pub(crate) fn wait(word: &AtomicU64, expected: u32, timeout: Duration) -> bool {
    let timeout_spec = timespec(timeout);
    // SAFETY: both pointers are to values that live through the call; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            low_half(word),
            libc::FUTEX_WAIT,
            expected,
            ptr::from_ref(&timeout_spec),
            ptr::null::<u32>(),
            0,
        )
    };
    look_again(result, timeout)
}

/// Sleeps while each word's low half is what is expected of it, at most `timeout`. Returns like
/// [`wait`]; so do more than 128 words, and kernels before 5.16, after a sleep of at most 1 ms.
pub(crate) fn wait_any<'a>(
    words: impl IntoIterator<Item = (&'a AtomicU64, u32)>,
    timeout: Duration,
) -> bool {
    const UNUSED: Waiter = Waiter { expected: 0, word: 0, flags: 0, reserved: 0 };
    let mut waiters = [UNUSED; WAITERS_MAX];
    let mut count = 0;
    for (word, expected) in words {
        if let Some(waiter) = waiters.get_mut(count) {
            *waiter = Waiter {
                expected: u64::from(expected),
                word: low_half(word) as u64,
                flags: FUTEX2_SIZE_U32,
                reserved: 0,
            };
        }
        count += 1;
    }
    if count == 0 || count > WAITERS_MAX {
        thread::sleep(timeout.min(SLEEP_MAX));
        return true;
    }
    let deadline = timespec(now().saturating_add(timeout));
    // SAFETY: the array holds at least `count` entries, whose addresses are of borrowed words;
    // it and the deadline live through the call, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            0,
            ptr::from_ref(&deadline),
            libc::CLOCK_MONOTONIC,
        )
    };
    look_again(result, timeout)
}

/// Wakes all that sleep on `word`, in every process; how many they were.
pub(crate) fn wake_all(word: &AtomicU64) -> usize {
    // SAFETY: the kernel takes the address of a borrowed word as a key and does not access it.
    let woken =
        unsafe { libc::syscall(libc::SYS_futex, low_half(word), libc::FUTEX_WAKE, i32::MAX) };
    usize::try_from(woken).unwrap_or(0)
}

/// `struct futex_waitv` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    expected: u64,
    word: u64,
    flags: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Waiter>() == 24);

/// A 32-bit futex that is shared between processes (no private flag).
const FUTEX2_SIZE_U32: u32 = 2;

fn low_half(word: &AtomicU64) -> *const u32 {
    word.as_ptr().cast()
}

/// Reads the result of a waiting call; the errors that are no answer become a short sleep, so that
/// a caller that loops neither spins nor hangs where a sandbox forbids the call.
fn look_again(result: libc::c_long, timeout: Duration) -> bool {
    if result >= 0 {
        return true;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ETIMEDOUT) => false,
        Some(libc::EAGAIN | libc::EINTR) => true,
        _ => {
            thread::sleep(timeout.min(SLEEP_MAX));
            true
        }
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// The monotonic clock that the kernel measures deadlines by.
fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` that lives through the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert_eq!(result, 0, "every Linux has a monotonic clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Fences that are paid by the one who goes to sleep instead of by the one who publishes.
pub(crate) mod membarrier {
    use std::sync::OnceLock;

    /// Lets this process take part in [`everywhere`]. `false` where the kernel does not offer it.
    pub(crate) fn register() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| call(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
    }

    /// Puts a full fence into every running thread of all registered processes, and into this one.
    /// `false` where the kernel does not offer it: nothing was fenced.
    pub(crate) fn everywhere() -> bool {
        call(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
    }

    fn call(command: libc::c_int) -> bool {
        // SAFETY: the call takes no pointer.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::map::{Access, Map, Pages, allocate};
    use std::sync::atomic::Ordering;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(5);

    fn word(map: &Map) -> &AtomicU64 {
        // SAFETY: the mapping is a page long, aligned, and lives as long as `map`.
        unsafe { map.base().as_ref() }
    }

    /// The same word, mapped twice: to sleep on (read-only) and to wake.
    fn mapped_twice() -> [Map; 2] {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        allocate(&file, 4096, Pages::Default).unwrap();
        [Access::ReadOnly, Access::ReadWrite]
            .map(|access| Map::new(&file, 0, 4096, access, Pages::Default).unwrap())
    }

    /// Wakes until `sleeper` has ended; whether it was this that woke it.
    fn wake_until_finished<T>(word: &AtomicU64, sleeper: &thread::ScopedJoinHandle<'_, T>) -> bool {
        let mut woken = 0;
        while woken == 0 && !sleeper.is_finished() {
            woken = wake_all(word);
            thread::yield_now();
        }
        woken > 0
    }

    #[test]
    fn a_wake_through_one_mapping_ends_a_wait_through_another() {
        let [theirs, ours] = mapped_twice();
        word(&ours).store(0xffff_0000_0001, Ordering::Relaxed);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| wait(word(&theirs), 1, LONG));
            assert!(wake_until_finished(word(&ours), &sleeper), "nobody slept on the word");
            assert!(sleeper.join().unwrap());
        });
    }

    #[test]
    fn any_of_several_words_ends_a_wait() {
        let [theirs, ours] = mapped_twice();
        let other = AtomicU64::new(5);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| wait_any([(&other, 5), (word(&theirs), 0)], LONG));
            let woken = wake_until_finished(word(&ours), &sleeper);
            assert!(sleeper.join().unwrap());
            if !woken {
                println!("skipped: this kernel has no futex_waitv, so the wait was a short sleep");
            }
        });
    }

    #[test]
    fn time_ends_a_wait() {
        let word = AtomicU64::new(3);
        assert!(!wait(&word, 3, SHORT));
        // `true` for lack of futex_waitv is a short sleep; some call must find the time over.
        let timed_out = !wait_any([(&word, 3), (&word, 3)], SHORT);
        // SAFETY: an invalid call that only tells whether the kernel knows it.
        let probe = unsafe { libc::syscall(libc::SYS_futex_waitv, 0, 0, 0, 0, 0) };
        let known = probe < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        assert_eq!(timed_out, known);
    }

    #[test]
    fn a_word_that_differs_is_not_slept_on() {
        let word = AtomicU64::new(1 << 32);
        assert!(wait(&word, 1, LONG));
        assert!(wait_any([(&word, 0), (&word, 1)], LONG));
    }

    #[test]
    fn no_words_and_too_many_are_a_short_sleep() {
        let word = AtomicU64::new(0);
        assert!(wait_any([], LONG));
        assert!(wait_any([(&word, 0); WAITERS_MAX + 1], LONG));
        assert!(!wait_any([(&word, 0); WAITERS_MAX], SHORT));
    }

    #[test]
    fn a_registered_process_can_fence_everywhere() {
        if !membarrier::register() {
            println!("skipped: the kernel refuses membarrier");
            return;
        }
        assert!(membarrier::register());
        assert!(membarrier::everywhere());
    }
}
