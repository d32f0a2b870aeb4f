//! Whether this process is still the one that made something, or a forked child of it.
//!
//! A count tells, and no process id: a child in another pid namespace can have its parent's, ids
//! come again, and asking for one is a system call.
//!
//! A child that is made without the C library's handlers is not told from its parent: by vfork(3)
//! or posix_spawn(3), by a bare clone(2) or by `_Fork`. It is to execute a program or to end, and
//! neither to use nor to drop what it was made with. The same holds for the child of a fork that is
//! under way in another thread while the first [`watch`] registers the handler; and for every child
//! until the handler has run in it: what another library's fork handlers open or drop there is
//! taken for the parent's.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many forks lie between this process and the one that began to watch.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// A process, as told from all its forked children, and they from theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// This process. Only forks after a [`watch`] count.
    pub(crate) fn now() -> Generation {
        Generation(FORKS.load(Ordering::Relaxed))
    }

    /// Whether this is still that process.
    pub(crate) fn is_current(self) -> bool {
        self == Generation::now()
    }
}

/// Sees to it that forks are counted from now on.
///
/// # Errors
///
/// When there is no memory for the handler.
pub(crate) fn watch() -> io::Result<()> {
    static INSTALLED: OnceLock<libc::c_int> = OnceLock::new();
    let result = *INSTALLED.get_or_init(|| {
        // SAFETY: the handler makes one atomic addition, which is safe in a forked child, and is
        // never unloaded while it is registered (the C library drops it with the object).
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) }
    });
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// In the child, before anything else runs there.
extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forks; returns how the child ended, which ends with what `work` returns.
    fn fork(work: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child makes system calls only, up to its end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child without running anything of the test process.
            unsafe { libc::_exit(work()) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above; `status` lives through the call.
        if child < 0 || unsafe { libc::waitpid(child, &mut status, 0) } != child {
            return -1;
        }
        status
    }

    #[test]
    fn a_process_is_told_from_its_children_and_they_from_theirs() {
        watch().unwrap();
        watch().unwrap();
        let parent = Generation::now();
        let status = fork(|| {
            let child = Generation::now();
            let of_grandchild = fork(|| {
                let has_own = !parent.is_current() && !child.is_current();
                i32::from(!has_own)
            });
            let has_own = !parent.is_current() && child.is_current();
            i32::from(!has_own) + 2 * i32::from(of_grandchild != 0)
        });
        assert_eq!(status, 0, "256: the child is taken for its parent, 512: the grandchild is");
        assert!(parent.is_current());
    }
}
