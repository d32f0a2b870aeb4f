//! The directory that holds all buses, and whether it can be trusted.

use std::env;
use std::path::{Path, PathBuf};

use super::build::build;
use super::dir::{Dir, ROOT, me};
use super::error::FileError;

/// The variable that names another directory for the buses.
pub(crate) const ROOT_VARIABLE: &str = "TICKCAST_DIR";

const DEFAULT_PARENT: &str = "/dev/shm";
const DEFAULT_NAME: &str = "tickcast";

/// Like `/tmp`: everybody may make a bus, and only its owner may rename or remove it.
const SHARED_MODE: u32 = 0o1777;

/// Where buses are: `TICKCAST_DIR`, or else `/dev/shm/tickcast`.
pub(crate) fn root_path() -> PathBuf {
    match env::var_os(ROOT_VARIABLE) {
        Some(path) if !path.is_empty() => path.into(),
        _ => Path::new(DEFAULT_PARENT).join(DEFAULT_NAME),
    }
}

/// Opens the directory of all buses. It is not made by looking: `NotFound` says that nobody has
/// made a bus yet.
///
/// # Errors
///
/// What [`Dir::open`] returns, `WrongOwner` and `NotSticky` when others could exchange what is in
/// it.
pub(crate) fn open_root() -> Result<Dir, FileError> {
    open_trusted(&root_path())
}

/// Opens the directory of all buses, and makes it first where it is the default one and absent.
///
/// # Errors
///
/// As [`open_root`].
pub(crate) fn open_or_create_root() -> Result<Dir, FileError> {
    let path = root_path();
    if path == Path::new(DEFAULT_PARENT).join(DEFAULT_NAME) {
        open_or_create_shared(Path::new(DEFAULT_PARENT), DEFAULT_NAME)
    } else {
        open_trusted(&path)
    }
}

fn open_or_create_shared(parent: &Path, name: &str) -> Result<Dir, FileError> {
    match open_trusted(&parent.join(name)) {
        Err(FileError::NotFound(_)) => {}
        found => return found,
    }
    // Built aside, so that nobody meets it without its sticky bit.
    let fill = |_: &Dir| Ok::<(), FileError>(());
    match build(&Dir::open(parent)?, &name.parse()?, SHARED_MODE, fill, |_| ()) {
        Ok(_) | Err(FileError::AlreadyExists(_)) => open_trusted(&parent.join(name)),
        Err(error) => Err(error),
    }
}

/// Opens a directory in which nobody but root, its owner and the owner of an entry can exchange
/// that entry.
fn open_trusted(path: &Path) -> Result<Dir, FileError> {
    let dir = Dir::open(path)?;
    let (mode, _) = dir.mode_and_group()?;
    let sticky = mode & libc::S_ISVTX != 0;
    if !sticky && mode & libc::S_IWOTH != 0 {
        return Err(FileError::NotSticky(path.into()));
    }
    if !sticky && ![ROOT, me()].contains(&dir.owner()) {
        return Err(FileError::WrongOwner { path: path.into(), owner: dir.owner() });
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    #[test]
    fn the_shared_directory_is_made_once_with_the_sticky_bit() {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        for _ in 0..2 {
            let root = open_or_create_shared(place.path(), "tickcast").unwrap();
            assert_eq!(root.path(), place.path().join("tickcast"));
            assert_eq!(root.path().metadata().unwrap().mode() & 0o7777, 0o1777);
        }
    }

    #[test]
    fn a_directory_in_which_others_can_exchange_things_is_refused() {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        for (mode, trusted) in [(0o700, true), (0o775, true), (0o777, false), (0o1777, true)] {
            dir.set_mode(mode).unwrap();
            assert_eq!(open_trusted(place.path()).is_ok(), trusted, "{mode:o}");
        }
        if me() != ROOT {
            println!("skipped: only root can make a directory of another user");
            return;
        }
        chown(place.path(), Some(12345), None).unwrap();
        for (mode, trusted) in [(0o755, false), (0o1777, true)] {
            dir.set_mode(mode).unwrap();
            assert_eq!(open_trusted(place.path()).is_ok(), trusted, "{mode:o}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        symlink("/tmp", place.path().join("tickcast")).unwrap();
        let error = open_or_create_shared(place.path(), "tickcast").unwrap_err();
        assert!(matches!(error, FileError::WrongKind { .. }), "{error}");
    }
}
