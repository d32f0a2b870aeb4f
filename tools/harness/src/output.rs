//! A file that a run writes when it is over. It is opened before, so that a bad path is known at
//! once; and until there is something to write, what was in it stays.
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file to be written. Dropped without that, it is as it was: where there was none, there is
/// none.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    /// Whether there is nothing in it that anybody wants.
    is_void: bool,
}

impl Output {
    /// Opens it, and makes it where it is not there.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = |is_new| OpenOptions::new().write(true).create_new(is_new).open(path);
        let opened = match open(true) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                open(false).map(|file| (file, false))
            }
            made => made.map(|file| (file, true)),
        };
        let (file, is_void) =
            opened.with_context(|| format!("cannot write to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, is_void })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it, in place of what was in it.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is left of it.
    pub(crate) fn write(mut self, content: &[u8]) -> Result<()> {
        let write = |file: &mut File, is_void: &mut bool| {
            // A pipe or a terminal has no end to cut.
            if file.metadata()?.is_file() {
                *is_void = true;
                file.set_len(0)?;
            }
            file.write_all(content)?;
            *is_void = false;
            Ok::<(), std::io::Error>(())
        };
        write(&mut self.file, &mut self.is_void)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_void
            && let Err(error) = fs::remove_file(&self.path)
        {
            eprintln!("tickcast: warning: cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| directory.path().join(name));
        fs::write(&old, "old and long").unwrap();
        for path in [&new, &old] {
            drop(Output::open(path).unwrap());
        }
        assert!(!new.exists());
        assert_eq!(fs::read(&old).unwrap(), b"old and long");
        for path in [&new, &old] {
            Output::open(path).unwrap().write(b"written").unwrap();
            assert_eq!(fs::read(path).unwrap(), b"written");
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path(), &directory.path().join("no").join("file")] {
            let told = Output::open(path).unwrap_err().to_string();
            assert_eq!(told, format!("cannot write to {}", path.display()));
        }
        Output::open(Path::new("/dev/null")).unwrap().write(b"gone").unwrap();
        assert!(Path::new("/dev/null").exists());
        let told = Output::open(Path::new("/dev/full")).unwrap().write(b"full").unwrap_err();
        assert_eq!(told.to_string(), "cannot write /dev/full");
        assert!(Path::new("/dev/full").exists());
    }
}
