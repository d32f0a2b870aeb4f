//! The memory that both sides of a benchmark share besides what is measured: files of cache lines,
//! made of atomic words, in the directory of the run.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::slice;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use memmap2::{MmapOptions, MmapRaw};

/// One cache line of shared words.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Line {
    /// Its words.
    pub words: [AtomicU64; 8],
}

const LINE_BYTES: usize = size_of::<Line>();
const _: () = assert!(LINE_BYTES == 64 && align_of::<Line>() == 64);

/// Makes a file of `lines` zeroed lines.
///
/// # Errors
/// When it exists, or shared memory is full or not writable.
pub fn create(path: &Path, lines: usize) -> Result<&'static [Line]> {
    let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let mut file = made.with_context(|| format!("cannot create {}", path.display()))?;
    // Written rather than extended, so that a full shared memory is an error here and not a
    // SIGBUS in the middle of a run.
    file.write_all(&vec![0; lines * LINE_BYTES])
        .context("shared memory is full; free some of /dev/shm")?;
    map(&file)
}

/// Maps what the other side made.
///
/// # Errors
/// When it is gone, or is not ours to look into.
pub fn open(path: &Path) -> Result<&'static [Line]> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    map(&file.with_context(|| {
        format!("cannot open {}; the process that made it may be gone", path.display())
    })?)
}

/// Maps a file for as long as the process lives: a few for each run, and a process has one.
fn map(file: &File) -> Result<&'static [Line]> {
    let map: MmapRaw = MmapOptions::new().map_raw(file).context("cannot map the shared lines")?;
    ensure!(map.len().is_multiple_of(LINE_BYTES), "the shared file is not made of whole lines");
    let map = Box::leak(Box::new(map));
    // SAFETY: the mapping starts at a page boundary, so the lines are aligned; it is `map.len()`
    // bytes long and is never unmapped. Any bytes are a valid `Line`. Both sides touch it through
    // atomics, or argue why they may do otherwise. The file is in a directory that only this user
    // can write to, and neither side ever shortens it, so every mapped page stays backed.
    Ok(unsafe { slice::from_raw_parts(map.as_ptr().cast::<Line>(), map.len() / LINE_BYTES) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_second_mapping_sees_the_same_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let first = create(&path, 100).unwrap();
        let second = open(&path).unwrap();
        assert_eq!(second.len(), 100);
        first[99].words[7].store(42, Ordering::Release);
        assert_eq!(second[99].words[7].load(Ordering::Acquire), 42);
        assert_eq!(second[98].words[7].load(Ordering::Acquire), 0);
        assert!(create(&path, 1).is_err(), "it exists");
    }
}
