//! Reading and writing by calls that wait: how segments are read, and how they are written where
//! there is no io_uring. Change here how the kernel is asked for that.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::vector::Vector;
use super::{Completion, PAGE_BYTES, Part};

/// Number of the system call `cachestat`: the same for all processors that Linux has, but alpha.
const CACHESTAT: libc::c_long = 451;

const ZEROES: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Whether what was asked for is to be asked for again as it was.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Has everything that is read and written through this open file go past the page cache, or not;
/// and takes it to be waited for, however it was opened.
///
/// # Errors
/// `InvalidInput` where the file system cannot do that.
pub(super) fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let flags = if is_direct { libc::O_DIRECT } else { 0 };
    // SAFETY: takes no pointer, and the descriptor is open while `file` is borrowed.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the page cache has all of these bytes of the file; taken to be so where the kernel,
/// before 6.5, cannot tell, and never so where its pages are larger than ours.
pub(super) fn is_cached(file: &File, at: u64, bytes: u64) -> bool {
    // `struct cachestat_range` and `struct cachestat` of <linux/mman.h>: the second begins with how
    // many pages are cached.
    let range = [at, bytes];
    let mut found = [0_u64; 5];
    // SAFETY: both are as large as the kernel's, which reads the first and writes the second during
    // the call; the descriptor is open while `file` is borrowed.
    let result = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), found.as_mut_ptr(), 0)
    };
    result != 0 || found[0] * PAGE_BYTES >= bytes
}

/// Has the kernel not fill its page cache ahead of who reads through this open file.
pub(super) fn expect_no_order(file: &File) {
    // SAFETY: takes no pointer, and the descriptor is open while `file` is borrowed. Advice that is
    // not taken costs time only.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}

/// The first byte from `at` on that was ever written; what lies before reads as zeroes. `None` when
/// that is all that follows. A file system that cannot tell says that everything was.
pub(super) fn next_written(file: &File, at: u64) -> Option<u64> {
    // SAFETY: takes no pointer, and the descriptor is open while `file` is borrowed.
    let found = unsafe { libc::lseek(file.as_raw_fd(), at as libc::off_t, libc::SEEK_DATA) };
    match u64::try_from(found) {
        Ok(found) => Some(found),
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => None,
        Err(_) => Some(at),
    }
}

/// Fills `to` from byte `at` of the file on, with zeroes behind its end.
pub(super) fn read(file: &File, at: u64, to: &Part) -> io::Result<()> {
    // Asked for beforehand: behind a last page that is not whole, a direct read would be an error.
    let bytes = file.metadata()?.len().saturating_sub(at).min(to.bytes);
    let mut done = 0;
    while done < bytes {
        let rest = to.bytes - done;
        let address = to.memory.address(to.at + done, rest);
        // SAFETY: the kernel stores at most `rest` bytes there, which lie in memory that `to` keeps
        // alive. For all others that is as if another process stored there, which whoever holds a
        // `Memory` reckons with; who lends its bytes out answers for it that none are read there.
        let result = unsafe {
            libc::pread(file.as_raw_fd(), address.cast(), rest as usize, (at + done) as libc::off_t)
        };
        match u64::try_from(result).map_err(|_| io::Error::last_os_error()) {
            // Somebody cuts the file at this moment.
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    while done < to.bytes {
        let count = (to.bytes - done).min(PAGE_BYTES);
        to.memory.words().patch_bytes(to.at + done, &ZEROES[..count as usize]);
        done += count;
    }
    Ok(())
}

fn write(file: &File, at: u64, places: &[libc::iovec]) -> io::Result<u64> {
    loop {
        // SAFETY: the vector that lends the places keeps the memory that they are in alive. The
        // kernel only reads from it.
        let result = unsafe {
            libc::pwritev(
                file.as_raw_fd(),
                places.as_ptr(),
                places.len() as libc::c_int,
                at as libc::off_t,
            )
        };
        match u64::try_from(result).map_err(|_| io::Error::last_os_error()) {
            Err(error) if is_passing(&error) => {}
            result => return result,
        }
    }
}

/// Does at once, and waits for, what it is asked for.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    /// Empty between the calls; it keeps its room.
    vector: Vector,
    done: VecDeque<Completion>,
}

impl Blocking {
    pub(super) fn write(&mut self, id: u64, file: io::Result<&File>, at: u64, parts: &[Part]) {
        self.vector.set(parts);
        let result = file.and_then(|file| write(file, at, self.vector.places()));
        self.vector.clear();
        self.done.push_back(Completion { id, result });
    }

    pub(super) fn flush(&mut self, id: u64, file: io::Result<&File>) {
        let result = file.and_then(File::sync_data).map(|()| 0);
        self.done.push_back(Completion { id, result });
    }

    pub(super) fn completed(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }
}
