//! A file that a run writes when it is over. That it can be written is found out before; and until
//! there is something to write, what was in it stays, also where the run is killed.
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

/// What a new file may be to everybody, but for the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// A file to be written. Dropped without that, it is as it was: where there was none, there is
/// none.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    /// Device and number of what is there already.
    inode: Option<(u64, u64)>,
    writes: Writes,
}

/// How it is written.
#[derive(Debug)]
enum Writes {
    /// A regular file: into another one, which then takes the place of what is here, its real path.
    Beside(PathBuf),
    /// A pipe, a terminal, a device, and wherever standard output goes.
    Through(File),
}

impl Output {
    /// Finds out whether it can be written, and how.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::find(path).with_context(|| format!("cannot write to {}", path.display()))
    }

    fn find(path: &Path) -> Result<Self> {
        let (inode, writes) = match OpenOptions::new().write(true).open(path) {
            Ok(file) => {
                let about = file.metadata()?;
                let inode = (about.dev(), about.ino());
                let writes = match standard(inode) {
                    Some(stream) => Writes::Through(stream),
                    None if about.is_file() => Writes::Beside(fs::canonicalize(path)?),
                    None => Writes::Through(file),
                };
                (Some(inode), writes)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                ensure!(!path.is_symlink(), "it is a link that leads nowhere");
                let directory = path.parent().filter(|parent| *parent != Path::new(""));
                let directory = fs::canonicalize(directory.unwrap_or(Path::new(".")))?;
                let name = path.file_name().context("it has no name")?;
                (None, Writes::Beside(directory.join(name)))
            }
            Err(error) => return Err(error.into()),
        };
        if let Writes::Beside(path) = &writes {
            // Removed at once: a run that is killed leaves nothing.
            drop(beside(path)?);
        }
        Ok(Self { path: path.to_owned(), inode, writes })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one file, by whatever names.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (&self.writes, &other.writes) {
            (Writes::Beside(one_path), Writes::Beside(other_path)) => {
                one_path == other_path || (self.inode.is_some() && self.inode == other.inode)
            }
            // Of a pipe or a terminal one follows the other.
            _ => false,
        }
    }

    /// Writes it, in place of what was in it.
    ///
    /// # Errors
    /// When it cannot be written; then it is as it was.
    pub(crate) fn write(self, content: &[u8]) -> Result<()> {
        let written = match self.writes {
            // Where nothing can take its place, as of a file that is mounted, it is written to.
            Writes::Beside(path) => replace(&path, content)
                .or_else(|_| fs::write(path, content).map_err(anyhow::Error::from)),
            Writes::Through(mut file) => file.write_all(content).map_err(Into::into),
        };
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Standard output or standard error, if that is what is there: not opened again, so that what is
/// printed follows what is written.
fn standard(inode: (u64, u64)) -> Option<File> {
    let (out, error) = (io::stdout(), io::stderr());
    [out.as_fd(), error.as_fd()].into_iter().find_map(|stream| {
        // One that is closed goes nowhere.
        let stream = File::from(stream.try_clone_to_owned().ok()?);
        let about = stream.metadata().ok()?;
        ((about.dev(), about.ino()) == inode).then_some(stream)
    })
}

/// A new file in the same directory, which is removed where it does not become the one at `path`.
fn beside(path: &Path) -> Result<NamedTempFile> {
    let directory = path.parent().context("it is no file")?;
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(".tickcast-").permissions(Permissions::from_mode(NEW_FILE_MODE));
    let made = builder.tempfile_in(directory);
    made.context("nothing can be made beside it, to take its place")
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = beside(path)?;
    file.write_all(content)?;
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(name).map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_written_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| directory.path().join(name));
        fs::write(&old, "old and long").unwrap();
        fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
        let outputs = [&new, &old].map(|path| Output::open(path).unwrap());
        // Also where nobody is left to drop them.
        assert_eq!(names_in(directory.path()), ["old"]);
        drop(outputs);
        assert_eq!(names_in(directory.path()), ["old"]);
        assert_eq!(fs::read(&old).unwrap(), b"old and long");
        for path in [&new, &old] {
            Output::open(path).unwrap().write(b"written").unwrap();
            assert_eq!(fs::read(path).unwrap(), b"written");
        }
        assert_eq!(names_in(directory.path()), ["new", "old"]);
        assert_eq!(fs::metadata(&old).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn who_reads_what_was_there_has_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let [path, link] = ["file", "link"].map(|name| directory.path().join(name));
        fs::write(&path, "old").unwrap();
        symlink("file", &link).unwrap();
        let mut reader = File::open(&path).unwrap();
        Output::open(&link).unwrap().write(b"new").unwrap();
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "old");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "what it leads to is replaced");
    }

    #[test]
    fn one_file_is_known_by_whatever_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        symlink("file", at("soft")).unwrap();
        symlink(directory.path(), at("again")).unwrap();
        let is_one = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|name| Output::open(&at(name)).unwrap());
            one.is(&other)
        };
        for name in ["file", "./file", "soft", "hard", "again/file"] {
            assert!(is_one("file", name), "{name}");
        }
        assert!(is_one("new", "again/new"));
        assert!(!is_one("new", "file") && !is_one("new", "newer"));
        assert!(!is_one("/dev/null", "/dev/null"), "nothing is lost there");
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
