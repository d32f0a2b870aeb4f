//! Where a benchmark writes: a directory for one run, and the files that bare loops use in it.
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate, fstatfs, syncfs};
use serde::Serialize;

use super::direct::{Direct, Request, Span, Work};

/// What statfs(2) says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// How bare files are written before they are measured.
const FILL: Request = Request { bytes: 1 << 20, depth: 4 };

/// A directory for one run, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    dir: File,
    pub(super) kind: Kind,
}

/// What figures stand for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    Disk,
    /// The file system refuses to go past the page cache.
    NoDirect,
    /// There is no disk.
    Memory,
}

impl Place {
    /// Makes a directory in `parent`.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn create(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("tickcast-bench-{}", process::id()));
        let refused = || format!("cannot write to {}; name another with --dir", parent.display());
        fs::create_dir(&path).with_context(refused)?;
        let dir = File::open(&path).inspect_err(|_| drop(fs::remove_dir(&path)));
        // From here on it is removed again.
        let mut place = Self { path, dir: dir.with_context(refused)?, kind: Kind::Disk };
        place.kind = place.look().with_context(refused)?;
        let warning = match place.kind {
            Kind::Disk => return Ok(place),
            Kind::NoDirect => {
                "has no O_DIRECT: the bare figures are those of the page cache, not of a disk"
            }
            Kind::Memory => "is in memory: the figures are not those of a disk",
        };
        let parent = parent.display();
        eprintln!("tickcast: warning: {parent} {warning}; name another with --dir");
        Ok(place)
    }

    fn look(&self) -> io::Result<Kind> {
        if fstatfs(&self.dir)?.f_type as i64 == TMPFS {
            return Ok(Kind::Memory);
        }
        let path = self.path.join("probe");
        let opened = open(&path, libc::O_DIRECT);
        // Where it is refused there may be a file all the same.
        let _ = fs::remove_file(&path);
        match opened {
            Ok(_) => Ok(Kind::Disk),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Kind::NoDirect),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is opened here goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.kind == Kind::Disk
    }

    /// Gives the disk everything that it is owed, so that no block pays for the one before.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn settle(&self) -> Result<()> {
        syncfs(&self.dir).context("cannot give the disk what is to be written")
    }

    /// A file that goes past the page cache where that can be.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(&self, path: &Path) -> Result<File> {
        let flags = if self.is_direct() { libc::O_DIRECT } else { 0 };
        open(path, flags).with_context(|| format!("cannot open {}", path.display()))
    }

    /// A file whose room is allocated and not written, in place of the one of that name.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn allocated(&self, name: &str, bytes: u64) -> Result<File> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        let file = self.open(&path)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot allocate {bytes} bytes for {}", path.display()))?;
        Ok(file)
    }

    /// A file whose room was written.
    ///
    /// # Errors
    /// When the disk is full.
    pub(super) fn written(&self, direct: &mut Direct, name: &str, bytes: u64) -> Result<File> {
        let file = self.allocated(name, bytes)?;
        direct.stream(Work::Write, &[Span { file: &file, bytes }], FILL)?;
        file.sync_all().with_context(|| format!("cannot sync {name}"))?;
        Ok(file)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags)
        .open(path)
}
