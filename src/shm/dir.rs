//! Directories, held open, and what is in them: reached by name from the open directory, never
//! through a link, and with its owner checked.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::error::FileError;
use super::name::Name;

/// How deep [`Dir::remove_tree`] goes: files of a topic, topics of a bus, and one more.
const DEPTH_MAX: u32 = 3;

/// An open directory. Its path is for messages; where it leads later does not matter.
#[derive(Debug)]
pub(crate) struct Dir {
    handle: File,
    path: PathBuf,
    owner: u32,
}

impl Dir {
    /// Opens `path`, whose last component must not be a link.
    pub(crate) fn open(path: &Path) -> Result<Dir, FileError> {
        // Without a slash at the end, behind which a link would be followed after all.
        let path: PathBuf = path.components().collect();
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&path);
        Dir::from_handle(opened, path)
    }

    /// Opens the directory `name` in this one.
    pub(crate) fn open_dir(&self, name: &str) -> Result<Dir, FileError> {
        self.open_dir_at(&component(name)?)
    }

    /// Makes the directory `name` with exactly the permissions `mode`, whatever the umask.
    pub(crate) fn create_dir(&self, name: &str, mode: u32) -> Result<Dir, FileError> {
        let entry = component(name)?;
        // SAFETY: the string ends in a zero byte and lives through the call.
        let result = unsafe { libc::mkdirat(self.handle.as_raw_fd(), entry.as_ptr(), 0o700) };
        if result != 0 {
            return Err(self.error("create", &entry, io::Error::last_os_error()));
        }
        let made = self.open_dir_at(&entry)?;
        made.set_mode(mode)?;
        Ok(made)
    }

    /// Opens the regular file `name`, which must belong to the owner of this directory, to root or
    /// to this user. A file to write to must have no second name, by which it could be any file.
    pub(crate) fn open_file(&self, name: &str, write: bool) -> Result<File, FileError> {
        let entry = component(name)?;
        let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
        // Non-blocking, so that a FIFO put there is refused and not waited for.
        let file = self
            .open_at(&entry, access | libc::O_NOFOLLOW | libc::O_NONBLOCK, 0)
            .map_err(|error| self.error("open", &entry, error))?;
        let path = self.path.join(name);
        let found = file.metadata().map_err(|error| FileError::from_io("examine", &path, error))?;
        if !found.is_file() {
            return Err(FileError::WrongKind { path, wanted: "regular file" });
        }
        if ![self.owner, ROOT, me()].contains(&found.uid()) {
            return Err(FileError::WrongOwner { path, owner: found.uid() });
        }
        if write && found.nlink() > 1 {
            return Err(FileError::Linked { path, links: found.nlink() });
        }
        Ok(file)
    }

    /// Makes the file `name`, to read and write, with exactly the permissions `mode`.
    pub(crate) fn create_file(&self, name: &str, mode: u32) -> Result<File, FileError> {
        let entry = component(name)?;
        self.open_at(&entry, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600)
            .and_then(|file| file.set_permissions(Permissions::from_mode(mode)).map(|()| file))
            .map_err(|error| self.error("create", &entry, error))
    }

    /// Everything here that has a proper name, sorted; what is hidden is left out.
    pub(crate) fn list(&self) -> Result<Vec<Name>, FileError> {
        let mut names: Vec<Name> =
            self.entries()?.iter().filter_map(|entry| entry.to_str().ok()?.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Renames within this directory, and never over something: that is `AlreadyExists`.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.rename_with(from, to, libc::RENAME_NOREPLACE)
    }

    /// Renames within this directory, over what has that name, if something has.
    pub(crate) fn replace(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.rename_with(from, to, 0)
    }

    /// Removes the file `name`.
    pub(crate) fn remove_file(&self, name: &str) -> Result<(), FileError> {
        let entry = component(name)?;
        self.unlink_at(&entry, 0).map_err(|error| self.error("remove", &entry, error))
    }

    /// Removes the file `name` if it is `owner`'s; `false` when it is somebody else's.
    pub(crate) fn remove_file_of(&self, name: &str, owner: u32) -> Result<bool, FileError> {
        let entry = component(name)?;
        let found =
            self.examine_at(&entry).map_err(|error| self.error("examine", &entry, error))?;
        if found.uid() != owner {
            return Ok(false);
        }
        self.unlink_at(&entry, 0).map_err(|error| self.error("remove", &entry, error))?;
        Ok(true)
    }

    /// Removes the directory `name` with what is in it. Links are removed, never followed; files
    /// that are mapped stay with those who map them.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), FileError> {
        self.remove_dir_at(&component(name)?, DEPTH_MAX)
    }

    /// Sets the permissions, sticky bit included.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<(), FileError> {
        self.handle
            .set_permissions(Permissions::from_mode(mode))
            .map_err(|error| FileError::from_io("set the mode of", &self.path, error))
    }

    /// Gives the directory to the group `gid`; the permissions for it are [`Dir::set_mode`].
    pub(crate) fn set_group(&self, gid: u32) -> Result<(), FileError> {
        fchown(&self.handle, None, Some(gid))
            .map_err(|error| FileError::from_io("set the group of", &self.path, error))
    }

    /// Gives `file`, which was made here as `name`, to the group `gid`.
    pub(crate) fn set_file_group(
        &self,
        file: &File,
        name: &str,
        gid: u32,
    ) -> Result<(), FileError> {
        fchown(file, None, Some(gid))
            .map_err(|error| FileError::from_io("set the group of", &self.path.join(name), error))
    }

    /// The permissions and the group that it has now.
    pub(crate) fn mode_and_group(&self) -> Result<(u32, u32), FileError> {
        let found = self
            .handle
            .metadata()
            .map_err(|error| FileError::from_io("examine", &self.path, error))?;
        Ok((found.mode() & 0o7777, found.gid()))
    }

    /// Whether `name` leads to this very file, and not to another or to none.
    pub(crate) fn leads_to(&self, name: &str, file: &File) -> Result<bool, FileError> {
        let entry = component(name)?;
        let id = |found: Metadata| (found.dev(), found.ino());
        match self.examine_at(&entry).and_then(|found| Ok(id(found) == id(file.metadata()?))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => found.map_err(|error| self.error("examine", &entry, error)),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.handle.sync_all().map_err(|error| FileError::from_io("sync", &self.path, error))
    }

    /// Where it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The user that it belongs to.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    /// Whether `name` in `parent` leads to this very directory.
    pub(super) fn is_named(&self, parent: &Dir, name: &str) -> bool {
        let id = |dir: &Dir| dir.handle.metadata().ok().map(|found| (found.dev(), found.ino()));
        parent.open_dir(name).is_ok_and(|found| id(&found).is_some() && id(&found) == id(self))
    }

    pub(super) fn handle(&self) -> &File {
        &self.handle
    }

    /// The names of all entries, hidden ones too, in no order.
    pub(crate) fn entries(&self) -> Result<Vec<CString>, FileError> {
        // The path through /proc leads to the open directory itself, wherever it is now.
        fs::read_dir(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(CString::new(entry?.file_name().into_vec())?))
                    .collect::<io::Result<Vec<CString>>>()
            })
            .map_err(|error| FileError::from_io("list", &self.path, error))
    }

    /// The same directory, for somebody else.
    pub(crate) fn try_clone(&self) -> io::Result<Dir> {
        let Dir { handle, path, owner } = self;
        Ok(Dir { handle: handle.try_clone()?, path: path.clone(), owner: *owner })
    }

    /// The same directory under its new name.
    pub(super) fn renamed(self, path: PathBuf) -> Dir {
        Dir { path, ..self }
    }

    fn open_dir_at(&self, entry: &CStr) -> Result<Dir, FileError> {
        let opened = self.open_at(entry, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0);
        Dir::from_handle(opened, self.path.join(OsStr::from_bytes(entry.to_bytes())))
    }

    fn from_handle(opened: io::Result<File>, path: PathBuf) -> Result<Dir, FileError> {
        let handle = opened.map_err(|error| FileError::from_io("open", &path, error))?;
        let found =
            handle.metadata().map_err(|error| FileError::from_io("examine", &path, error))?;
        Ok(Dir { handle, path, owner: found.uid() })
    }

    fn open_at(&self, entry: &CStr, flags: libc::c_int, mode: libc::c_uint) -> io::Result<File> {
        let flags = flags | libc::O_CLOEXEC;
        // SAFETY: the string ends in a zero byte and lives through the call.
        let fd = unsafe { libc::openat(self.handle.as_raw_fd(), entry.as_ptr(), flags, mode) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nothing else owns it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    fn examine_at(&self, entry: &CStr) -> io::Result<Metadata> {
        // Opened for no access, which needs no permission and does not wait.
        self.open_at(entry, libc::O_PATH | libc::O_NOFOLLOW, 0)?.metadata()
    }

    fn rename_with(&self, from: &str, to: &str, flags: libc::c_uint) -> Result<(), FileError> {
        let (from, to) = (component(from)?, component(to)?);
        let fd = self.handle.as_raw_fd();
        // SAFETY: both strings end in a zero byte and live through the call.
        let result = unsafe { libc::renameat2(fd, from.as_ptr(), fd, to.as_ptr(), flags) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        let about = if error.raw_os_error() == Some(libc::ENOENT) { &from } else { &to };
        Err(self.error("rename", about, error))
    }

    fn unlink_at(&self, entry: &CStr, flags: libc::c_int) -> io::Result<()> {
        // SAFETY: the string ends in a zero byte and lives through the call.
        let result = unsafe { libc::unlinkat(self.handle.as_raw_fd(), entry.as_ptr(), flags) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn remove_dir_at(&self, entry: &CStr, depth: u32) -> Result<(), FileError> {
        let dir = self.open_dir_at(entry)?;
        for inner in dir.entries()? {
            match dir.unlink_at(&inner, 0) {
                Ok(()) => {}
                // Somebody else is removing it too.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) if error.raw_os_error() == Some(libc::EISDIR) && depth > 1 => {
                    dir.remove_dir_at(&inner, depth - 1)?;
                }
                Err(error) => return Err(dir.error("remove", &inner, error)),
            }
        }
        self.unlink_at(entry, libc::AT_REMOVEDIR)
            .map_err(|error| self.error("remove", entry, error))
    }

    fn error(&self, action: &'static str, entry: &CStr, error: io::Error) -> FileError {
        let path = self.path.join(OsStr::from_bytes(entry.to_bytes()));
        FileError::from_io(action, &path, error)
    }
}

pub(super) const ROOT: u32 = 0;

/// The user that this process acts as.
pub(crate) fn me() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { libc::geteuid() }
}

/// `name` for a system call, if it is one component of a path. Looser than [`Name`], so that hidden
/// names can be used here.
fn component(name: &str) -> Result<CString, FileError> {
    let refused = || FileError::Io {
        action: "use the name",
        path: name.into(),
        source: io::Error::from(io::ErrorKind::InvalidFilename),
    };
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(refused());
    }
    CString::new(name).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        (place, dir)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_made_has_the_permissions_asked_for() {
        let (place, dir) = scratch();
        let bus = dir.create_dir("bus", 0o1777).unwrap();
        assert_eq!(mode(&place.path().join("bus")), 0o1777);
        bus.create_file("ring", 0o666).unwrap();
        assert_eq!(mode(&bus.path().join("ring")), 0o666);
        bus.set_mode(0o750).unwrap();
        assert_eq!(mode(bus.path()), 0o750);
        assert_eq!(bus.owner(), me());
        assert!(matches!(dir.create_dir("bus", 0o700), Err(FileError::AlreadyExists(_))));
        assert!(matches!(bus.create_file("ring", 0o600), Err(FileError::AlreadyExists(_))));
        assert!(matches!(bus.open_file("none", false), Err(FileError::NotFound(_))));
        bus.open_file("ring", true).unwrap();
    }

    #[test]
    fn what_is_said_of_a_directory_is_said_of_the_open_one() {
        let (place, dir) = scratch();
        let bus = dir.create_dir("bus", 0o1750).unwrap();
        dir.rename("bus", "elsewhere").unwrap();
        dir.create_dir("bus", 0o700).unwrap();
        assert!(bus.is_named(&dir, "elsewhere"));
        assert!(!bus.is_named(&dir, "bus") && !bus.is_named(&dir, "absent"));
        let group = place.path().join("elsewhere").metadata().unwrap().gid();
        assert_eq!(bus.mode_and_group().unwrap(), (0o1750, group));
    }

    #[test]
    fn groups_are_set_on_directories_and_files() {
        let (_place, dir) = scratch();
        let gid = dir.handle.metadata().unwrap().gid();
        let file = dir.create_file("ring", 0o640).unwrap();
        dir.set_group(gid).unwrap();
        dir.set_file_group(&file, "ring", gid).unwrap();
        if me() != ROOT {
            println!("skipped: only root may give files to any group");
            return;
        }
        dir.set_group(12345).unwrap();
        assert_eq!(dir.mode_and_group().unwrap().1, 12345);
        dir.set_file_group(&file, "ring", 12345).unwrap();
        assert_eq!(file.metadata().unwrap().gid(), 12345);
        assert_eq!(dir.path().metadata().unwrap().gid(), 12345);
    }

    #[test]
    fn a_file_is_removed_for_its_owner_only() {
        let (place, dir) = scratch();
        dir.create_file("ring", 0o000).unwrap();
        assert!(!dir.remove_file_of("ring", me() + 1).unwrap());
        assert!(place.path().join("ring").exists());
        assert!(dir.remove_file_of("ring", me()).unwrap());
        assert!(!place.path().join("ring").exists());
        assert!(matches!(dir.remove_file_of("ring", me()), Err(FileError::NotFound(_))));
    }

    #[test]
    fn links_fifos_and_what_is_of_the_wrong_kind_are_refused() {
        let (place, dir) = scratch();
        dir.create_file("real", 0o600).unwrap();
        dir.create_dir("sub", 0o700).unwrap();
        symlink("real", place.path().join("file-link")).unwrap();
        symlink("sub", place.path().join("dir-link")).unwrap();
        let fifo = CString::new(place.path().join("fifo").as_os_str().as_bytes()).unwrap();
        // SAFETY: the string ends in a zero byte.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        for write in [false, true] {
            for name in ["file-link", "sub", "fifo"] {
                let error = dir.open_file(name, write).unwrap_err();
                assert!(matches!(error, FileError::WrongKind { .. }), "{name}: {error}");
            }
        }
        for name in ["dir-link", "real"] {
            let error = dir.open_dir(name).unwrap_err();
            assert!(matches!(error, FileError::WrongKind { .. }), "{name}: {error}");
        }
        assert!(Dir::open(&place.path().join("dir-link")).is_err());
        assert!(Dir::open(&place.path().join("dir-link/")).is_err());
    }

    #[test]
    fn a_file_with_a_second_name_is_not_written() {
        let (place, dir) = scratch();
        dir.create_file("one", 0o600).unwrap();
        fs::hard_link(place.path().join("one"), place.path().join("two")).unwrap();
        assert!(matches!(dir.open_file("two", true), Err(FileError::Linked { links: 2, .. })));
        dir.open_file("two", false).unwrap();
    }

    #[test]
    fn a_strangers_file_is_refused() {
        if me() != ROOT {
            println!("skipped: only root can make a file of another user");
            return;
        }
        let (place, dir) = scratch();
        dir.create_file("ring", 0o666).unwrap();
        std::os::unix::fs::chown(place.path().join("ring"), Some(12345), None).unwrap();
        let error = dir.open_file("ring", false).unwrap_err();
        assert!(matches!(error, FileError::WrongOwner { owner: 12345, .. }), "{error}");
        // In a directory of the same stranger it is what is expected.
        std::os::unix::fs::chown(place.path(), Some(12345), None).unwrap();
        Dir::open(place.path()).unwrap().open_file("ring", true).unwrap();
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let (_place, dir) = scratch();
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(dir.open_dir(name).is_err(), "{name:?}");
            assert!(dir.create_file(name, 0o600).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_without_what_is_hidden() {
        let (place, dir) = scratch();
        for name in ["b", "a", ".tmp-c-1-1"] {
            dir.create_dir(name, 0o700).unwrap();
        }
        fs::write(place.path().join("not a name"), "").unwrap();
        let names: Vec<String> = dir.list().unwrap().iter().map(Name::to_string).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let (_place, dir) = scratch();
        dir.create_file("from", 0o600).unwrap();
        dir.create_file("to", 0o600).unwrap();
        assert!(matches!(dir.rename("from", "to"), Err(FileError::AlreadyExists(_))));
        dir.rename("from", "free").unwrap();
        dir.open_file("free", false).unwrap();
        assert!(matches!(dir.rename("from", "x"), Err(FileError::NotFound(_))));
    }

    #[test]
    fn what_has_the_name_is_replaced_where_that_is_asked_for() {
        let (place, dir) = scratch();
        let (from, to) =
            (dir.create_file("from", 0o600).unwrap(), dir.create_file("to", 0o600).unwrap());
        assert!(dir.leads_to("to", &to).unwrap() && !dir.leads_to("to", &from).unwrap());
        dir.replace("from", "to").unwrap();
        assert!(dir.leads_to("to", &from).unwrap() && !dir.leads_to("from", &from).unwrap());
        dir.replace("to", "free").unwrap();
        assert!(matches!(dir.replace("to", "x"), Err(FileError::NotFound(_))));
        dir.sync().unwrap();
        dir.remove_file("free").unwrap();
        assert!(matches!(dir.remove_file("free"), Err(FileError::NotFound(_))));
        assert!(place.path().read_dir().unwrap().next().is_none());
    }

    #[test]
    fn removing_a_tree_does_not_follow_links() {
        let (place, dir) = scratch();
        let kept = dir.create_dir("kept", 0o700).unwrap();
        kept.create_file("ring", 0o600).unwrap();
        let bus = dir.create_dir("bus", 0o700).unwrap();
        let topic = bus.create_dir("topic", 0o700).unwrap();
        topic.create_file("ring", 0o600).unwrap();
        symlink(kept.path(), topic.path().join("dir-link")).unwrap();
        symlink(kept.path().join("ring"), topic.path().join("file-link")).unwrap();
        dir.remove_tree("bus").unwrap();
        assert!(!place.path().join("bus").exists());
        kept.open_file("ring", false).unwrap();
        assert!(matches!(dir.remove_tree("bus"), Err(FileError::NotFound(_))));
    }

    #[test]
    fn a_tree_deeper_than_any_of_ours_is_not_removed() {
        let (place, dir) = scratch();
        fs::create_dir_all(place.path().join("1/2/3/4")).unwrap();
        assert!(dir.remove_tree("1").is_err());
        assert!(place.path().join("1/2/3/4").exists());
    }
}
