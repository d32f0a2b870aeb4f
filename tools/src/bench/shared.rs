//! The memory that the two processes of a benchmark share is mapped here, and handed out in cache
//! lines of atomic words.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use memmap2::{MmapOptions, MmapRaw};

/// One cache line of shared words.
#[repr(C, align(64))]
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) words: [AtomicU64; 8],
}

const LINE_BYTES: usize = size_of::<Line>();
const _: () = assert!(LINE_BYTES == 64 && align_of::<Line>() == 64);

/// A mapping of cache lines, the same ones in both processes.
pub(crate) struct Shared {
    map: MmapRaw,
    file: File,
}

impl Shared {
    /// Makes `lines` zeroed lines that no name refers to: they vanish with the last process that
    /// maps them, however it ends.
    ///
    /// # Errors
    /// When shared memory is full or not writable.
    pub(crate) fn create(lines: usize) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/tickcast-bench-{}-{number}", process::id()));
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let mut file = made.with_context(|| {
            format!("cannot create {}; is /dev/shm mounted and writable?", path.display())
        })?;
        fs::remove_file(&path).with_context(|| format!("cannot unlink {}", path.display()))?;
        // Written rather than extended, so that a full shared memory is an error here and not a
        // SIGBUS in the middle of a run.
        file.write_all(&vec![0; lines * LINE_BYTES])
            .context("shared memory is full; free some of /dev/shm")?;
        Self::map(file)
    }

    /// Maps what another process made, by the path that its [`Shared::path`] named.
    ///
    /// # Errors
    /// When the other process is gone, or is not ours to look into.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self::map(file.with_context(|| {
            format!("cannot open {}; the process that made it may be gone", path.display())
        })?)
    }

    /// Where another process of the same user can open these lines while this one lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd()))
    }

    fn map(file: File) -> Result<Self> {
        let map: io::Result<MmapRaw> = MmapOptions::new().map_raw(&file);
        let map = map.context("cannot map the shared lines")?;
        ensure!(map.len().is_multiple_of(LINE_BYTES), "the shared file is not made of whole lines");
        Ok(Self { map, file })
    }

    /// All lines.
    pub(crate) fn lines(&self) -> &[Line] {
        // SAFETY: the mapping starts at a page boundary, so the lines are aligned; it is
        // `map.len()` bytes long and lives as long as `self`, which the result borrows. Any bytes
        // are a valid `Line`. Both processes touch it through atomics only. The file has no name
        // and is open in these two processes alone, neither of which ever shortens it, so every
        // mapped page stays backed.
        unsafe { slice::from_raw_parts(self.map.as_ptr().cast::<Line>(), self.len()) }
    }

    fn len(&self) -> usize {
        self.map.len() / LINE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_mapping_sees_the_same_words() {
        let first = Shared::create(100).unwrap();
        let second = Shared::open(&first.path()).unwrap();
        assert_eq!(second.lines().len(), 100);
        first.lines()[99].words[7].store(42, Ordering::Release);
        assert_eq!(second.lines()[99].words[7].load(Ordering::Acquire), 42);
        assert_eq!(second.lines()[98].words[7].load(Ordering::Acquire), 0);
    }
}
