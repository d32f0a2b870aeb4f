//! What can go wrong with names, directories and files, told so that the reader knows what to do.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::lock::LockError;
use super::name::NameError;

/// Why something in shared memory could not be opened, made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A name that cannot be a bus's or a topic's.
    #[error(transparent)]
    Name(#[from] NameError),

    /// A lock that could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),

    /// No permission.
    #[error(
        "cannot {action} {}: permission denied; {holder}: ask its owner for access (chmod, chgrp), \
         or run as a user who has it",
        path.display()
    )]
    Denied {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Whose that is, in words.
        holder: String,
    },

    /// There is nothing of that name.
    #[error("{} does not exist: create it first, or set TICKCAST_DIR to where it is", .0.display())]
    NotFound(PathBuf),

    /// The name is taken.
    #[error("{} exists already: open it, remove it first, or take another name", .0.display())]
    AlreadyExists(PathBuf),

    /// Shared memory, or another file system, is full.
    #[error(
        "no room left for {}: remove what is no longer needed, or make its file system larger \
         (shared memory: mount -o remount,size=<more> /dev/shm)",
        .0.display()
    )]
    Full(PathBuf),

    /// A link, a directory, a device where something else should be.
    #[error(
        "{} is not a {wanted} (links are refused): remove it, or take another name",
        path.display()
    )]
    WrongKind {
        /// What it is about.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },

    /// It belongs to somebody who is not trusted with it.
    #[error(
        "{} belongs to user {owner}, which is neither root nor you nor the owner of its directory: \
         it is not trusted; have it removed, or set TICKCAST_DIR to a directory of your own",
        path.display()
    )]
    WrongOwner {
        /// What it is about.
        path: PathBuf,
        /// Id of the user who owns it.
        owner: u32,
    },

    /// A directory in which everybody could replace what is in it.
    #[error(
        "{} may be written by everybody and has no sticky bit, so anybody could replace what is in \
         it: set the bit (chmod +t), or set TICKCAST_DIR to a directory of your own",
        .0.display()
    )]
    NotSticky(PathBuf),

    /// A file that is known by other names, too.
    #[error(
        "{} has {links} names (hard links), and writing to it would change a file elsewhere: \
         replace it by a copy",
        path.display()
    )]
    Linked {
        /// What it is about.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },

    /// Everything else that the kernel says.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl FileError {
    /// The error for a system call that was to `action` (a verb) what is at `path`.
    pub(crate) fn from_io(action: &'static str, path: &Path, source: io::Error) -> FileError {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                FileError::Denied { action, holder: holder(&path), path }
            }
            Some(libc::ENOENT) => FileError::NotFound(path),
            Some(libc::EEXIST) => FileError::AlreadyExists(path),
            Some(libc::ENOSPC | libc::EDQUOT) => FileError::Full(path),
            Some(libc::ENOTDIR) => FileError::WrongKind { path, wanted: "directory" },
            // A device or a FIFO opened for writing without a reader, a link, a directory.
            Some(libc::ELOOP | libc::ENXIO | libc::EISDIR) => {
                FileError::WrongKind { path, wanted: "regular file" }
            }
            _ => FileError::Io { action, path, source },
        }
    }

    /// The same for those who tell errors by their kind.
    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            FileError::Io { source, .. } | FileError::Lock(LockError::Io(source)) => source.kind(),
            FileError::Denied { .. } => io::ErrorKind::PermissionDenied,
            FileError::NotFound(_) => io::ErrorKind::NotFound,
            FileError::AlreadyExists(_) => io::ErrorKind::AlreadyExists,
            FileError::Full(_) => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

/// Whose `path` is, or else its directory: for messages only, nothing is decided by it.
fn holder(path: &Path) -> String {
    let seen = path.ancestors().find_map(|at| Some((at, at.symlink_metadata().ok()?)));
    match seen {
        Some((at, found)) => format!(
            "{} belongs to user {}, group {}, mode {:04o}",
            at.display(),
            found.uid(),
            found.gid(),
            found.mode() & 0o7777,
        ),
        None => "its owner cannot be seen".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn denied_names_the_nearest_owner_that_can_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1750)).unwrap();
        let inside = dir.path().join("absent");
        let error = FileError::from_io("open", &inside, io::Error::from_raw_os_error(libc::EACCES));
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot open {}", inside.display())), "{text}");
        assert!(text.contains(&format!("{} belongs to user", dir.path().display())), "{text}");
        assert!(text.contains("mode 1750"), "{text}");
    }

    #[test]
    fn a_full_shared_memory_says_how_to_enlarge_it() {
        let error = FileError::from_io(
            "allocate",
            Path::new("/dev/shm/x"),
            io::Error::from_raw_os_error(libc::ENOSPC),
        );
        assert!(matches!(error, FileError::Full(_)));
        assert!(error.to_string().contains("mount -o remount,size="));
    }
}
