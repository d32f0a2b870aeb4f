//! Making a directory that others see complete or not at all.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dir::{Dir, me};
use super::error::FileError;
use super::name::Name;

/// Makes the directory `name` in `parent` with the permissions `mode`: `fill` puts into a hidden
/// one what it is to hold, which then gets the name. When anything fails, nothing is left.
///
/// The hidden one is locked while it is filled. What builders left that died meanwhile is removed.
/// Before anything unfinished is removed, `discard` sees it, to remove what it has elsewhere.
///
/// # Errors
///
/// `AlreadyExists` when the name is taken (also when another builder was faster), what `fill`
/// returns, and what the file system says.
pub(crate) fn build<E: From<FileError>>(
    parent: &Dir,
    name: &Name,
    mode: u32,
    fill: impl FnOnce(&Dir) -> Result<(), E>,
    discard: impl Fn(&Dir),
) -> Result<Dir, E> {
    remove_abandoned(parent, &discard)?;
    let place = parent.path().join(&**name);
    // Filling may be long; it is the rename that decides.
    if place.symlink_metadata().is_ok() {
        return Err(FileError::AlreadyExists(place).into());
    }
    let mut hidden = Hidden::create(parent, name, &discard)?;
    fill(hidden.dir.as_ref().expect("present until it is named"))?;
    Ok(hidden.publish(name, mode)?)
}

/// A directory being filled; dropping it removes it.
struct Hidden<'a> {
    parent: &'a Dir,
    name: String,
    /// `None` once it has its name.
    dir: Option<Dir>,
    discard: &'a dyn Fn(&Dir),
}

impl<'a> Hidden<'a> {
    fn create(
        parent: &'a Dir,
        name: &Name,
        discard: &'a dyn Fn(&Dir),
    ) -> Result<Hidden<'a>, FileError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let mut tries_left = 100;
        loop {
            tries_left -= 1;
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let hidden = format!(".tmp-{name}-{}-{count}", process::id());
            let dir = match parent.create_dir(&hidden, 0o700) {
                Ok(dir) => dir,
                // A process of this number in another container, or one that died; or somebody took
                // it for abandoned before it could be opened.
                Err(FileError::AlreadyExists(_) | FileError::NotFound(_)) if tries_left > 0 => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let examine = |error| FileError::from_io("lock", dir.path(), error);
            flock(dir.handle(), libc::LOCK_EX).map_err(examine)?;
            // Between its making and its lock it may have been taken for abandoned, and removed.
            if dir.handle().metadata().map_err(examine)?.nlink() > 0 {
                return Ok(Hidden { parent, name: hidden, dir: Some(dir), discard });
            }
        }
    }

    fn publish(&mut self, name: &Name, mode: u32) -> Result<Dir, FileError> {
        let dir = self.dir.as_ref().expect("named only once");
        dir.set_mode(mode)?;
        self.parent.rename(&self.name, name)?;
        let dir = self.dir.take().expect("as above");
        // Its lock meant "being built".
        flock(dir.handle(), libc::LOCK_UN)
            .map_err(|error| FileError::from_io("unlock", dir.path(), error))?;
        Ok(dir.renamed(self.parent.path().join(&**name)))
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let Some(dir) = &self.dir else { return };
        (self.discard)(dir);
        if let Err(error) = self.parent.remove_tree(&self.name) {
            log::warn!("something unfinished stays behind: {error}");
        }
    }
}

/// Removes this user's hidden directories whose builder is no more, that is, holds no lock on them.
/// (Its pid would say less: another container counts from 1 too, and pids come again.) For
/// `discard` see [`build`].
pub(crate) fn remove_abandoned(parent: &Dir, discard: impl Fn(&Dir)) -> Result<(), FileError> {
    for (name, dir) in unfinished(parent)? {
        if dir.owner() != me()
            || flock(dir.handle(), libc::LOCK_EX | libc::LOCK_NB).is_err()
            // Finished between the look and the lock.
            || !dir.is_named(parent, &name)
        {
            continue;
        }
        discard(&dir);
        match parent.remove_tree(&name) {
            Ok(()) => log::info!("removed {}, left by a dead process", dir.path().display()),
            // Removed by another, who need not ask for the lock.
            Err(FileError::NotFound(_)) => {}
            Err(error) => log::warn!("something unfinished stays behind: {error}"),
        }
    }
    Ok(())
}

/// What is being built in `parent`, and what dead builders left there.
pub(crate) fn unfinished(parent: &Dir) -> Result<Vec<(String, Dir)>, FileError> {
    let entries = parent.entries()?;
    let names = entries.iter().filter_map(|entry| entry.to_str().ok().filter(|it| is_hidden(it)));
    // It may be gone by now, or be something else that bears such a name: no concern of ours.
    Ok(names.filter_map(|name| Some((name.to_owned(), parent.open_dir(name).ok()?))).collect())
}

/// Whether a name is one that [`Hidden`] gives: `.tmp-<name>-<pid>-<count>`.
fn is_hidden(entry: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().is_ok();
    let parts = || {
        let (rest, count) = entry.strip_prefix(".tmp-")?.rsplit_once('-')?;
        let (name, pid) = rest.rsplit_once('-')?;
        Some(number(count) && number(pid) && name.parse::<Name>().is_ok())
    };
    parts().unwrap_or(false)
}

/// Locks or unlocks a whole directory: flock(2) works where no description can be writable.
fn flock(dir: &File, operation: libc::c_int) -> io::Result<()> {
    loop {
        // SAFETY: takes no pointer, and the descriptor is open while `dir` is borrowed.
        if unsafe { libc::flock(dir.as_raw_fd(), operation) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::thread;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(place.path()).unwrap();
        (place, dir)
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn fill(dir: &Dir) -> Result<(), FileError> {
        dir.create_file("ring", 0o600).map(drop)
    }

    #[test]
    fn a_directory_appears_whole_and_with_its_mode() {
        let (place, parent) = scratch();
        let fill = |dir: &Dir| {
            assert!(parent.list().unwrap().is_empty());
            fill(dir)
        };
        let discard = |_: &Dir| panic!("discarded although nothing failed");
        let built = build(&parent, &name("topic"), 0o1751, fill, discard).unwrap();
        assert_eq!(built.path(), place.path().join("topic"));
        assert_eq!(built.path().metadata().unwrap().mode() & 0o7777, 0o1751);
        built.open_file("ring", true).unwrap();
        assert_eq!(parent.entries().unwrap().len(), 1);
    }

    #[test]
    fn what_fails_or_panics_leaves_nothing() {
        let (_place, parent) = scratch();
        let discarded = Cell::new(0);
        let discard = |dir: &Dir| {
            dir.open_file("ring", true).expect("discarded before it is removed");
            discarded.set(discarded.get() + 1);
        };
        let full = |dir: &Dir| {
            fill(dir)?;
            Err(FileError::Full("x".into()))
        };
        let failed = build(&parent, &name("topic"), 0o700, full, discard);
        assert!(matches!(failed, Err(FileError::Full(_))));
        assert_eq!(discarded.get(), 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let fill = |dir: &Dir| {
                fill(dir)?;
                panic!("in the midst of it");
                #[expect(unreachable_code)]
                Ok::<(), FileError>(())
            };
            build(&parent, &name("topic"), 0o700, fill, discard)
        }));
        assert!(panicked.is_err());
        assert_eq!(discarded.get(), 2);
        assert!(parent.entries().unwrap().is_empty());
    }

    #[test]
    fn of_two_who_build_the_same_name_exactly_one_wins() {
        let (_place, parent) = scratch();
        let both = Barrier::new(2);
        let racer = || {
            let fill = |dir: &Dir| {
                fill(dir)?;
                // Both are past the early look, so it is the rename that decides.
                both.wait();
                Ok::<(), FileError>(())
            };
            build(&parent, &name("topic"), 0o700, fill, |_| ())
        };
        let results = thread::scope(|scope| {
            [scope.spawn(racer), scope.spawn(racer)].map(|handle| handle.join().unwrap())
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        assert!(results.iter().any(|r| matches!(r, Err(FileError::AlreadyExists(_)))));
        assert_eq!(parent.entries().unwrap().len(), 1);
        let fill =
            |_: &Dir| -> Result<(), FileError> { panic!("filled although the name is taken") };
        let third = build(&parent, &name("topic"), 0o700, fill, |_| ());
        assert!(matches!(third, Err(FileError::AlreadyExists(_))));
    }

    #[test]
    fn what_dead_builders_left_is_removed_and_the_rest_is_not() {
        let (_place, parent) = scratch();
        let abandoned = parent.create_dir(".tmp-some-topic-1-7", 0o700).unwrap();
        fill(&abandoned).unwrap();
        drop(abandoned);
        for other in [".tmp-x", ".tmp-x-1", ".tmp-x-y-1", ".tmp--1-1", ".cache-x-1-1"] {
            parent.create_dir(other, 0o700).unwrap();
        }
        let discarded = RefCell::new(Vec::new());
        let discard = |dir: &Dir| {
            dir.open_file("ring", true).expect("discarded before it is removed");
            discarded.borrow_mut().push(dir.path().file_name().unwrap().to_owned());
        };
        let fill_outer = |_: &Dir| {
            // While this one is being built, another builder must leave it alone.
            build(&parent, &name("inner"), 0o700, fill, discard).map(drop)
        };
        build(&parent, &name("outer"), 0o700, fill_outer, discard).unwrap();
        assert_eq!(discarded.take(), [".tmp-some-topic-1-7"]);
        let mut left: Vec<String> =
            parent.entries().unwrap().iter().map(|e| e.to_str().unwrap().into()).collect();
        left.sort();
        let kept =
            [".cache-x-1-1", ".tmp--1-1", ".tmp-x", ".tmp-x-1", ".tmp-x-y-1", "inner", "outer"];
        assert_eq!(left, kept);
    }
}
