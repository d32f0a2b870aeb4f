//! Locks that say that a process lives: they end with it, however it ends.
//!
//! They are open-file-description locks (fcntl(2)), which last until the last descriptor of their
//! description is closed. So each lock has a description of its own, closed on `exec`, and closed
//! in a forked child by a handler: a child that lives on does not keep its parent's locks. A child
//! on its way to `exec` does, for that moment; so does one made without handlers (see
//! [`crate::fork`]), for its life.
//!
//! What the handlers cannot do:
//! - The first lock installs them: a fork that is under way in another thread at that moment misses
//!   them, and its child is not told that it is one.
//! - Handlers that other libraries register may run while this gate is locked, or before the child
//!   knows that it is one: what they open or drop of a bus hangs, or is taken for the parent's own.
//! - A builder's lock on an unfinished directory (see [`build`](super::build)) is none of these: a
//!   child that is forked while a topic is being made keeps it for as long as it lives, and what is
//!   unfinished is not removed before.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::fork::{self, Generation};

/// How many locks a process can hold at once.
const LOCKS_MAX: usize = 16_384;

/// Why a lock could be neither taken nor found taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// This process holds as many locks as it can.
    #[error(
        "this process holds {LOCKS_MAX} locks, which is all it can: close some publishers or reliable subscribers"
    )]
    TooMany,
    /// What the kernel said.
    #[error("cannot lock: {0}")]
    Io(#[from] io::Error),
}

/// A lock on one byte of a file, held until it is dropped or this process dies.
///
/// In a forked child it holds nothing, and dropping it there does nothing.
#[derive(Debug)]
pub(crate) struct Lock {
    /// `None` only while it is dropped.
    file: Option<File>,
    byte: u64,
    entry: usize,
    made_in: Generation,
}

impl Lock {
    /// Takes the first of `bytes` that nobody has locked, against everybody; `None` when there is
    /// none. The file must be open for writing.
    ///
    /// `open` opens the file anew for this lock, with close-on-exec, and does nothing else: no fork
    /// and no other lock, which would wait for this one forever. (It is called here so that no fork
    /// in another thread can come between the opening and the entry for the handler.)
    ///
    /// # Errors
    ///
    /// What `open` returns, and [`LockError`].
    pub(crate) fn try_exclusive<E: From<LockError>>(
        open: impl FnOnce() -> Result<File, E>,
        bytes: Range<u64>,
    ) -> Result<Option<Lock>, E> {
        Lock::take(open, bytes, libc::F_WRLCK)
    }

    /// Takes `byte` together with others who share it; `None` when somebody holds it exclusively.
    /// The file must be open for reading. For the rest see [`Lock::try_exclusive`].
    pub(crate) fn try_shared<E: From<LockError>>(
        open: impl FnOnce() -> Result<File, E>,
        byte: u64,
    ) -> Result<Option<Lock>, E> {
        Lock::take(open, byte..byte.saturating_add(1), libc::F_RDLCK)
    }

    /// Whether this is the process that took it, and no forked child, in which it holds nothing.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.made_in.is_current()
    }

    /// Which byte it is.
    pub(crate) fn byte(&self) -> u64 {
        self.byte
    }

    /// What it is a lock of, opened as it was for it. All that is asked of the kernel through this
    /// keeps the lock held until it is over, though the process may have died long before.
    ///
    /// # Errors
    ///
    /// In a forked child, which does not have it.
    pub(crate) fn file(&self) -> io::Result<&File> {
        match &self.file {
            Some(file) if self.is_of_this_process() => Ok(file),
            _ => {
                Err(io::Error::other("this is a forked child, which has to open its files itself"))
            }
        }
    }

    fn take<E: From<LockError>>(
        open: impl FnOnce() -> Result<File, E>,
        bytes: Range<u64>,
        kind: libc::c_int,
    ) -> Result<Option<Lock>, E> {
        watch_forks()?;
        let _gate = Gate::enter();
        let file = open()?;
        for byte in bytes {
            if !set(&file, byte, kind).map_err(LockError::Io)? {
                continue;
            }
            let entry = register(&file).ok_or(LockError::TooMany)?;
            let made_in = Generation::now();
            return Ok(Some(Lock { file: Some(file), byte, entry, made_in }));
        }
        Ok(None)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let file = self.file.take();
        if !self.is_of_this_process() {
            // A forked child: the handler closed this descriptor, and its number may be another's.
            mem::forget(file);
            return;
        }
        let _gate = Gate::enter();
        DESCRIPTORS[self.entry].store(NONE, Ordering::Relaxed);
        // Closing releases the lock. Unlocking would also take it from whoever else, by some other
        // way than a fork, shares the description.
        drop(file);
    }
}

/// Whether anybody holds the exclusive lock on `byte`, this process included. Any description of
/// the file does, also a read-only one, except that of the lock itself.
///
/// Shared locks do not count: whoever may only read the file can take one, and must not look like
/// an owner.
pub(crate) fn is_held(file: &File, byte: u64) -> io::Result<bool> {
    let mut request = request(byte, libc::F_RDLCK)?;
    // SAFETY: the pointer is to an `flock` that lives through the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(request.l_type) != libc::F_UNLCK)
}

/// Locks `byte`; `false` when somebody else holds it.
fn set(file: &File, byte: u64, kind: libc::c_int) -> io::Result<bool> {
    let request = request(byte, kind)?;
    // SAFETY: the pointer is to an `flock` that lives through the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

fn request(byte: u64, kind: libc::c_int) -> io::Result<libc::flock> {
    let start = i64::try_from(byte).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    })
}

// ---- what a forked child must close

const NONE: i32 = -1;

/// The descriptors of all locks of this process. Changed within the gate; of a fixed size, because
/// the child of a process with threads may not allocate.
static DESCRIPTORS: [AtomicI32; LOCKS_MAX] = [const { AtomicI32::new(NONE) }; LOCKS_MAX];

/// Enters `file` for the handler; `None` when all entries are in use. Within the gate.
fn register(file: &File) -> Option<usize> {
    let entry = DESCRIPTORS.iter().position(|entry| entry.load(Ordering::Relaxed) == NONE)?;
    DESCRIPTORS[entry].store(file.as_raw_fd(), Ordering::Relaxed);
    Some(entry)
}

/// Keeps forks out while a lock is made or dropped: else a child could inherit a descriptor that is
/// not entered yet, or close a number that has passed to another file. A pthread mutex, because the
/// fork handlers lock it in one function and unlock it in another.
struct Gate(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: the mutex is only ever handed to the pthread functions, which are made for sharing it.
unsafe impl Sync for Gate {}

static GATE: Gate = Gate(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

impl Gate {
    fn enter() -> impl Drop {
        struct Inside;
        impl Drop for Inside {
            fn drop(&mut self) {
                unlock_gate();
            }
        }
        lock_gate();
        Inside
    }
}

extern "C" fn lock_gate() {
    // SAFETY: an initialised mutex that never moves; no path enters it twice in one thread.
    unsafe { libc::pthread_mutex_lock(GATE.0.get()) };
}

extern "C" fn unlock_gate() {
    // SAFETY: this thread (in a forked child: the one that it is a copy of) has locked it.
    unsafe { libc::pthread_mutex_unlock(GATE.0.get()) };
}

extern "C" fn close_in_child() {
    for entry in &DESCRIPTORS {
        let descriptor = entry.swap(NONE, Ordering::Relaxed);
        if descriptor != NONE {
            // SAFETY: the number was ours at the fork (the gate was held), the child runs nothing
            // before its handlers, and no `Lock` will use it here: they see that it forked.
            unsafe { libc::close(descriptor) };
        }
    }
    unlock_gate();
}

/// Installs the handlers, once, and not within the gate, which a fork in another thread may wait
/// for.
fn watch_forks() -> Result<(), LockError> {
    static INSTALLED: OnceLock<libc::c_int> = OnceLock::new();
    fork::watch()?;
    let result = *INSTALLED.get_or_init(|| {
        // SAFETY: the handlers make only calls that are safe in a forked child, and are never
        // unloaded while they are registered (the C library drops them with the object).
        unsafe { libc::pthread_atfork(Some(lock_gate), Some(unlock_gate), Some(close_in_child)) }
    });
    match result {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, pipe};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    fn open(path: &Path) -> io::Result<File> {
        File::options().read(true).write(true).open(path)
    }

    fn exclusive(path: &Path, bytes: Range<u64>) -> Option<Lock> {
        Lock::try_exclusive::<LockError>(|| Ok(open(path)?), bytes).unwrap()
    }

    fn shared(path: &Path, byte: u64) -> Option<Lock> {
        Lock::try_shared::<LockError>(|| Ok(File::open(path)?), byte).unwrap()
    }

    fn held(path: &Path, byte: u64) -> bool {
        is_held(&File::open(path).unwrap(), byte).unwrap()
    }

    /// Waits until nobody holds the byte. Not at once: a program that another test starts has all
    /// descriptors for a moment, until its `exec`.
    fn becomes_free(path: &Path, byte: u64) -> bool {
        (0..5000).any(|_| {
            let free = !held(path, byte);
            if !free {
                thread::sleep(Duration::from_millis(1));
            }
            free
        })
    }

    /// A forked child that runs `work` and then sleeps until it is killed.
    struct Child(libc::pid_t);

    impl Child {
        /// `work` makes system calls only: the child is the copy of one thread of many.
        fn fork(work: impl FnOnce() -> bool) -> Child {
            let (mut done, ready) = pipe().unwrap();
            // SAFETY: the child makes system calls only, up to its death.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                // SAFETY: takes no pointer; the child dies with the test.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let said = [u8::from(work())];
                // SAFETY: the buffer is one byte long.
                unsafe { libc::write(ready.as_raw_fd(), said.as_ptr().cast(), 1) };
                loop {
                    // SAFETY: takes no argument.
                    unsafe { libc::pause() };
                }
            }
            drop(ready);
            let mut said = [0];
            done.read_exact(&mut said).unwrap();
            let child = Child(pid);
            assert_eq!(said, [1], "the child's work failed");
            child
        }

        fn kill(self) {}
    }

    impl Drop for Child {
        fn drop(&mut self) {
            // SAFETY: takes no pointer; the child is ours and not yet waited for.
            unsafe { libc::kill(self.0, libc::SIGKILL) };
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        }
    }

    #[test]
    fn a_byte_has_one_exclusive_holder_at_a_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        assert!(!held(path, 3));
        let first = exclusive(path, 3..4).unwrap();
        assert!(held(path, 3) && !held(path, 2) && !held(path, 4));
        assert!(exclusive(path, 3..4).is_none());
        assert!(shared(path, 3).is_none());
        assert_eq!(exclusive(path, 3..6).unwrap().byte(), 4);
        drop(first);
        assert!(becomes_free(path, 3));
        assert!(exclusive(path, 3..4).is_some());
        assert!(exclusive(path, 3..3).is_none());
    }

    #[test]
    fn those_who_share_a_byte_keep_an_exclusive_holder_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        let one = shared(path, 0).unwrap();
        let two = shared(path, 0).unwrap();
        assert!(exclusive(path, 0..1).is_none());
        drop(one);
        assert!(exclusive(path, 0..1).is_none());
        assert!(!held(path, 0), "who shares is no owner");
        drop(two);
        // A thread that is between fork and exec may keep the descriptor for a moment.
        while exclusive(path, 0..1).is_none() {}
        assert!(exclusive(path, 0..1).is_some());
    }

    #[test]
    fn other_descriptors_of_the_file_do_not_end_a_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let _lock = exclusive(file.path(), 0..1).unwrap();
        drop(open(file.path()).unwrap());
        assert!(held(file.path(), 0));
    }

    #[test]
    fn killing_its_holder_frees_a_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        // The child may not allocate, so the handlers are installed and the path made before.
        watch_forks().unwrap();
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let child = Child::fork(|| {
            let open = || {
                // SAFETY: the string ends in a zero byte.
                let fd = unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
                // SAFETY: the descriptor is new, and owned by nothing else.
                let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
                Ok::<File, LockError>(file)
            };
            mem::forget(Lock::try_exclusive(open, 0..1));
            true
        });
        assert!(held(path, 0));
        assert!(exclusive(path, 0..1).is_none());
        child.kill();
        assert!(becomes_free(path, 0));
        assert!(exclusive(path, 0..1).is_some());
    }

    #[test]
    fn a_forked_child_does_not_keep_a_lock_nor_close_what_took_its_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let other = tempfile::tempfile().unwrap();
        let path = file.path();
        let lock = exclusive(path, 0..1).unwrap();
        let number = lock.file.as_ref().unwrap().as_raw_fd();
        let in_child = &lock;
        let child = Child::fork(|| {
            // SAFETY: takes no pointer.
            let closed = unsafe { libc::fcntl(number, libc::F_GETFD) } == -1;
            // SAFETY: the number is free in the child, and `other` is open.
            unsafe { libc::dup2(other.as_raw_fd(), number) };
            // SAFETY: this process never drops the original: it sleeps until it is killed.
            drop(unsafe { std::ptr::read(in_child) });
            // SAFETY: takes no pointer.
            let kept = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
            closed && kept
        });
        assert!(held(path, 0), "the fork ended the parent's lock");
        drop(lock);
        assert!(becomes_free(path, 0), "the child kept the lock");
        child.kill();
    }

    #[test]
    fn a_program_that_is_executed_does_not_keep_a_lock() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lock = exclusive(file.path(), 0..1).unwrap();
        let mut sleeper = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        drop(lock);
        let free = becomes_free(file.path(), 0);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert!(free, "the program kept the lock");
    }

    #[test]
    fn what_cannot_be_locked_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read_only = || Ok(File::open(file.path())?);
        let error = Lock::try_exclusive::<LockError>(read_only, 0..1).unwrap_err();
        assert!(matches!(error, LockError::Io(_)), "{error}");
        assert!(is_held(&File::open(file.path()).unwrap(), u64::MAX).is_err());
        let absent = || Ok(File::open("/nonexistent/file")?);
        assert!(Lock::try_shared::<LockError>(absent, 0).is_err());
    }
}
