//! What a run makes in shared memory: a bus, and a directory for what is not tickcast's. Both carry
//! the pid of the process that made them, and vanish with it or are removed by the next run.
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tickcast::{Bus, Topic};

/// What the names of all such buses and directories begin with; the pid follows.
const BUS_PREFIX: &str = "bench-";
const DIRECTORY_PREFIX: &str = "tickcast-bench-";
/// Where the directories are.
const SHARED_MEMORY: &str = "/dev/shm";

/// A bus for one run, removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryBus(Bus);

impl TemporaryBus {
    /// Makes it, and removes what runs that were killed have left.
    ///
    /// # Errors
    /// When shared memory is full or not writable.
    pub fn create() -> Result<Self> {
        static HAS_MADE: AtomicBool = AtomicBool::new(false);
        let has_made = HAS_MADE.swap(true, Ordering::Relaxed);
        for name in Bus::list().context("cannot list the buses")? {
            if is_left(&name, BUS_PREFIX, has_made) {
                // A child that outlives its parent by a moment holds it: the next run removes it.
                let _ = Bus::remove(&name, false);
            }
        }
        let name = format!("{BUS_PREFIX}{}", process::id());
        Ok(Self(Bus::create(&name).with_context(|| format!("cannot make the bus {name}"))?))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Makes a topic whose ring is of this size.
    ///
    /// # Errors
    /// When shared memory is full.
    pub fn create_topic(&self, name: &str, ring_bytes: u64) -> Result<Topic> {
        let topic = self.0.topic(name).ring_bytes(ring_bytes).create();
        topic.with_context(|| format!("cannot make the topic {name}"))
    }
}

impl Drop for TemporaryBus {
    fn drop(&mut self) {
        // By force: on errors the child may still hold it.
        if let Err(error) = Bus::remove(self.0.name(), true) {
            eprintln!("cannot remove the bus {}: {error}", self.0.name());
        }
    }
}

/// A directory in shared memory for one run, removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    /// Makes it, for this user alone, and removes what runs that were killed have left.
    ///
    /// # Errors
    /// When shared memory is not writable.
    pub fn create() -> Result<Self> {
        static HAS_MADE: AtomicBool = AtomicBool::new(false);
        let has_made = HAS_MADE.swap(true, Ordering::Relaxed);
        for entry in fs::read_dir(SHARED_MEMORY).context("cannot list /dev/shm")?.flatten() {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| is_left(name, DIRECTORY_PREFIX, has_made))
            {
                // Another user's stays.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let path = Path::new(SHARED_MEMORY).join(format!("{DIRECTORY_PREFIX}{}", process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make {}; is it writable?", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Whether something of this name was made by a process that is dead: also by one that had the pid
/// of this one, if `has_made` says that this one has made nothing yet.
fn is_left(name: &str, prefix: &str, has_made: bool) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| match pid == process::id() {
        true => !has_made,
        false => !Path::new("/proc").join(pid.to_string()).exists(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_have_left_is_removed() {
        let of = |pid: u32| format!("{BUS_PREFIX}{pid}");
        assert!(!is_left(&of(std::os::unix::process::parent_id()), BUS_PREFIX, false));
        assert!(is_left(&of(process::id()), BUS_PREFIX, false), "its pid is used again");
        assert!(!is_left(&of(process::id()), BUS_PREFIX, true), "it is this one's");
        assert!(is_left("bench-4294967295", BUS_PREFIX, true), "no process has such a pid");
        for name in ["bench-", "bench-x1", "md"] {
            assert!(!is_left(name, BUS_PREFIX, false), "{name}");
        }
    }
}
