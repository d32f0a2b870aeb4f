//! A real disk, really written to, filled, taken away and left behind.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::folder::{FileSegment, if_named};
use super::uring::Uring;
use super::*;
use crate::log::block::BLOCK_BYTES;
use crate::shm::dir::Dir;
use crate::shm::error::FileError;
use crate::shm::lock::Lock;

const ENGINES: [Engine; 2] = [Engine::Uring, Engine::Blocking];

/// Pages of a segment of one block.
const PAGES: u64 = BLOCK_BYTES / PAGE_BYTES;

/// On a disk, as a rule.
fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(place: &Path, blocks: u64, engine: Engine) -> FileDisk {
    FileDisk::open(Dir::open(place).unwrap(), blocks, engine).unwrap()
}

fn made(disk: &mut FileDisk, first: u64) -> io::Result<FileSegment> {
    disk.prepare(first);
    loop {
        if let Some(segment) = disk.prepared() {
            return segment;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Opens a segment as soon as it is free. Not at once: a program that another test starts has all
/// descriptors for a moment, until its `exec`.
fn opened(disk: &mut FileDisk, first: u64) -> FileSegment {
    loop {
        match disk.open(first) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            segment => return segment.unwrap(),
        }
    }
}

/// Waits for so many ends.
fn ends(disk: &mut FileDisk, count: usize) -> BTreeMap<u64, io::Result<u64>> {
    let mut ends = BTreeMap::new();
    while ends.len() < count {
        if let Some(end) = disk.completed() {
            assert!(ends.insert(end.id, end.result).is_none(), "{} ends twice", end.id);
        }
    }
    assert!(disk.completed().is_none());
    ends
}

/// Pages that tell their number.
fn pages(numbers: Range<u64>) -> Part {
    let bytes = (numbers.end - numbers.start) * PAGE_BYTES;
    let memory = Memory::pages(bytes).unwrap();
    for (at, number) in (0..).step_by(PAGE_BYTES as usize).zip(numbers) {
        memory.words().store_bytes(at / 8, &page(number));
    }
    Part { memory, at: 0, bytes }
}

fn page(number: u64) -> Vec<u8> {
    (number + 1).to_le_bytes().repeat(PAGE_BYTES as usize / 8)
}

fn bytes_of(part: &Part) -> Vec<u8> {
    let mut words = vec![0; part.bytes as usize / 8];
    part.memory.words().load_words(part.at / 8, &mut words);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn empty(bytes: u64) -> Part {
    let part = Part { memory: Memory::pages(bytes).unwrap(), at: 0, bytes };
    part.memory.words().store_bytes(0, &vec![0xee; bytes as usize]);
    part
}

fn write(disk: &mut FileDisk, segment: &FileSegment, numbers: Range<u64>) {
    let (at, count) = (numbers.start * PAGE_BYTES, numbers.end - numbers.start);
    disk.write(0, segment, at, &[pages(numbers)]);
    assert_eq!(ends(disk, 1)[&0].as_ref().unwrap(), &(count * PAGE_BYTES));
}

fn inode(place: &Path, name: &str) -> u64 {
    place.join(name).metadata().unwrap().ino()
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_in_any_order_is_read_back() {
    const WRITES: u64 = 400;
    for (place, engine) in [place(), tempfile::tempdir_in("/dev/shm").unwrap()]
        .iter()
        .flat_map(|place| ENGINES.map(|engine| (place.path(), engine)))
    {
        let mut disk = open(place, WRITES.div_ceil(PAGES / 2), engine);
        let segment = made(&mut disk, 7).unwrap();
        assert!(disk.completed().is_none());
        // More than the kernel is given at a time; two parts each, from different memories.
        for id in (0..WRITES).map(|number| number * 171 % WRITES) {
            let (one, two) = (pages(2 * id..2 * id + 1), pages(2 * id..2 * id + 2));
            let two = Part { at: PAGE_BYTES, bytes: PAGE_BYTES, ..two };
            disk.write(id, &segment, 2 * id * PAGE_BYTES, &[one, two]);
        }
        for (id, result) in ends(&mut disk, WRITES as usize) {
            assert_eq!(result.unwrap(), 2 * PAGE_BYTES, "{id}");
        }
        disk.flush(WRITES, &segment);
        assert_eq!(ends(&mut disk, 1)[&WRITES].as_ref().unwrap(), &0);
        let expected: Vec<u8> = (0..2 * WRITES).flat_map(page).collect();
        let to = empty(2 * WRITES * PAGE_BYTES);
        disk.read(&segment, 0, &to).unwrap();
        assert!(bytes_of(&to) == expected);
        drop(segment);
        drop(disk);
        assert!(fs::read(place.join("0000000000000007.segment")).unwrap() == expected);
    }
}

#[test]
fn what_lies_behind_the_end_reads_as_zeroes() {
    for engine in ENGINES {
        let place = place();
        let mut disk = open(place.path(), 1, engine);
        let segment = made(&mut disk, 0).unwrap();
        write(&mut disk, &segment, 0..PAGES);
        let to = empty(3 * PAGE_BYTES);
        disk.read(&segment, BLOCK_BYTES - PAGE_BYTES, &to).unwrap();
        let expected = [page(PAGES - 1), vec![0; 2 * PAGE_BYTES as usize]].concat();
        assert!(bytes_of(&to) == expected);
        // A file that somebody has cut within a page.
        let file = place.path().join("0000000000000000.segment");
        File::options().write(true).open(file).unwrap().set_len(PAGE_BYTES + 1001).unwrap();
        disk.read(&segment, 0, &to).unwrap();
        let mut expected = [page(0), page(1)].concat();
        expected.truncate(PAGE_BYTES as usize + 1001);
        expected.resize(3 * PAGE_BYTES as usize, 0);
        assert!(bytes_of(&to) == expected);
        disk.read(&segment, 2 * PAGE_BYTES, &to).unwrap();
        assert!(bytes_of(&to).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn what_cannot_be_written_is_told() {
    for engine in ENGINES {
        let place = place();
        let mut disk = open(place.path(), 1, engine);
        let segment = made(&mut disk, 0).unwrap();
        // Larger than any file.
        disk.write(3, &segment, i64::MAX as u64 & !(PAGE_BYTES - 1), &[pages(0..1)]);
        let error = ends(&mut disk, 1).remove(&3).unwrap().unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::EFBIG | libc::EINVAL)),
            "{engine:?}: {error}"
        );
        write(&mut disk, &segment, 0..PAGES);
    }
}

#[test]
fn a_segment_has_one_writer_until_the_last_clone_is_dropped() {
    let place = place();
    let mut disk = open(place.path(), 1, Engine::Uring);
    let mut other = open(place.path(), 1, Engine::Uring);
    assert_eq!(disk.open(5).unwrap_err().kind(), io::ErrorKind::NotFound);
    let segment = made(&mut disk, 5).unwrap();
    let is_blocked = |disk: &mut FileDisk| {
        disk.open(5).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    assert!(is_blocked(&mut other) && is_blocked(&mut disk));
    disk.write(0, &segment, 0, &[pages(0..PAGES)]);
    drop(segment);
    // Asked for and not even given to the kernel.
    assert!(is_blocked(&mut other));
    ends(&mut disk, 1)[&0].as_ref().unwrap();
    let segment = opened(&mut other, 5);
    let clone = segment.clone();
    drop(segment);
    assert!(is_blocked(&mut disk));
    drop(clone);
    opened(&mut disk, 5);
}

#[test]
fn whoever_drops_a_disk_waits_for_what_is_under_way() {
    let place = place();
    let mut disk = open(place.path(), 64, Engine::Uring);
    let segment = made(&mut disk, 0).unwrap();
    for id in 0..64 {
        disk.write(id, &segment, id * BLOCK_BYTES, &[pages(id * PAGES..(id + 1) * PAGES)]);
    }
    // It is under way from here on, and may be over.
    let first = disk.completed();
    drop((disk, segment, first));
    let expected: Vec<u8> = (0..64 * PAGES).flat_map(page).collect();
    assert!(fs::read(place.path().join("0000000000000000.segment")).unwrap() == expected);
}

#[test]
fn a_disk_goes_on_in_another_thread_when_its_own_has_ended() {
    let place = place();
    let mut disk = open(place.path(), 64, Engine::Uring);
    let segment = made(&mut disk, 0).unwrap();
    let asked = thread::spawn(move || {
        for id in 0..64 {
            disk.write(id, &segment, id * BLOCK_BYTES, &[pages(id * PAGES..(id + 1) * PAGES)]);
            disk.flush(64 + id, &segment);
        }
        let first = disk.completed();
        (disk, segment, first)
    });
    let (mut disk, segment, first) = asked.join().unwrap();
    let mut ends = ends(&mut disk, 128 - usize::from(first.is_some()));
    ends.extend(first.map(|end| (end.id, end.result)));
    assert_eq!(ends.len(), 128);
    for (id, result) in ends {
        assert_eq!(result.unwrap(), if id < 64 { BLOCK_BYTES } else { 0 }, "{id}");
    }
    write(&mut disk, &segment, 0..PAGES);
}

#[test]
fn a_forked_child_uses_nothing_and_waits_for_nothing() {
    let place = place();
    for engine in ENGINES {
        let mut disk = open(place.path(), 64, engine);
        let segment = made(&mut disk, 0).unwrap();
        disk.write(0, &segment, 0, &[pages(0..PAGES)]);
        let first = disk.completed();
        // SAFETY: the child makes system calls and frees memory, for which the C library cares.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            disk.write(1, &segment, BLOCK_BYTES, &[pages(0..1)]);
            let mut fails = false;
            while let Some(end) = disk.completed() {
                fails = end.id == 1 && end.result.is_err() || fails;
            }
            drop((disk, segment));
            // SAFETY: ends the child without running anything of the test process.
            unsafe { libc::_exit(i32::from(!fails)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above; `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        let first = first.unwrap_or_else(|| {
            let result = ends(&mut disk, 1).remove(&0).unwrap();
            Completion { id: 0, result }
        });
        assert_eq!((first.id, first.result.unwrap()), (0, BLOCK_BYTES));
        let to = empty(PAGE_BYTES);
        disk.read(&segment, BLOCK_BYTES, &to).unwrap();
        assert!(bytes_of(&to).iter().all(|byte| *byte == 0), "the child wrote");
    }
}

#[test]
fn a_prepared_segment_is_whole_and_replaces_another() {
    let place = place();
    fs::set_permissions(place.path(), PermissionsExt::from_mode(0o750)).unwrap();
    let mut disk = open(place.path(), 3, Engine::Uring);
    assert_eq!(disk.segment_blocks(), 3);
    assert!(disk.prepared().is_none());
    let old = made(&mut disk, 0xabc).unwrap();
    let name = "0000000000000abc.segment";
    let found = place.path().join(name).metadata().unwrap();
    assert_eq!((found.len(), found.mode() & 0o7777), (3 * BLOCK_BYTES, 0o640));
    assert_eq!(found.blocks() * 512, 3 * BLOCK_BYTES);
    write(&mut disk, &old, 0..PAGES);
    let new = made(&mut disk, 0xabc).unwrap();
    assert_ne!(inode(place.path(), name), found.ino());
    // The old one lives on for who has it.
    write(&mut disk, &old, 0..PAGES);
    let to = empty(PAGE_BYTES);
    disk.read(&new, 0, &to).unwrap();
    assert!(bytes_of(&to).iter().all(|byte| *byte == 0));
    drop(disk.open(0xabc).unwrap_err());
    disk.sync().unwrap();
    assert_eq!(names(place.path()), [name]);
}

#[test]
fn segments_are_listed_in_order_and_other_names_left_alone() {
    let place = place();
    let others = [
        "+000000000000001.segment",
        "00000000000000AB.segment",
        "0000000000000001",
        "0000000000000001.spares",
        "1.segment",
        "notes.segment",
        // A block that no log comes to.
        "ffffffffffffffff.segment",
    ];
    for name in others {
        fs::write(place.path().join(name), "").unwrap();
    }
    let mut disk = open(place.path(), 1, Engine::Uring);
    for first in [0x20, 3, 1 << 46] {
        made(&mut disk, first).unwrap();
    }
    assert_eq!(disk.segments().unwrap(), [3, 0x20, 1 << 46]);
    disk.remove(0x20).unwrap();
    assert_eq!(disk.segments().unwrap(), [3, 1 << 46]);
    assert_eq!(disk.remove(0x20).unwrap_err().kind(), io::ErrorKind::NotFound);
    let names = names(place.path());
    assert!(others.iter().all(|other| names.iter().any(|name| name == other)));
}

/// Has segments made and removed until the file `inode` is used again. Not at once, for the reason
/// that [`opened`] has.
fn recycled(disk: &mut FileDisk, place: &Path, inode: u64) -> FileSegment {
    loop {
        let segment = made(disk, 100).unwrap();
        if self::inode(place, "0000000000000064.segment") == inode {
            return segment;
        }
        drop(segment);
        disk.remove(100).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_removed_is_used_again_as_it_is() {
    let place = place();
    let mut disk = open(place.path(), 1, Engine::Uring);
    for first in 1..=4 {
        let segment = made(&mut disk, first).unwrap();
        write(&mut disk, &segment, 0..PAGES);
    }
    let first = inode(place.path(), "0000000000000001.segment");
    for first in 1..=3 {
        disk.remove(first).unwrap();
    }
    assert_eq!(
        names(place.path()),
        ["0000000000000001.spare", "0000000000000002.spare", "0000000000000004.segment"]
    );
    let segment = recycled(&mut disk, place.path(), first);
    let to = empty(BLOCK_BYTES);
    disk.read(&segment, 0, &to).unwrap();
    assert!(bytes_of(&to) == (0..PAGES).flat_map(page).collect::<Vec<_>>());
    drop(disk.open(100).unwrap_err());
}

#[test]
fn a_spare_that_is_no_segment_or_has_a_writer_is_not_used_again() {
    let place = place();
    let small = place.path().join("0000000000000001.spare");
    fs::write(&small, [1; 4096]).unwrap();
    // A backup that is made of hard links must not change.
    let (linked, backup) =
        (place.path().join("0000000000000011.spare"), place.path().join("backup"));
    fs::write(&linked, [1; BLOCK_BYTES as usize]).unwrap();
    fs::hard_link(&linked, &backup).unwrap();
    let mut disk = open(place.path(), 1, Engine::Uring);
    let segment = made(&mut disk, 2).unwrap();
    assert!(!small.exists() && !linked.exists() && backup.exists());
    disk.remove(2).unwrap();
    let other = made(&mut disk, 3).unwrap();
    write(&mut disk, &segment, 0..PAGES);
    let to = empty(PAGE_BYTES);
    disk.read(&other, 0, &to).unwrap();
    assert!(bytes_of(&to).iter().all(|byte| *byte == 0));
    let spare = inode(place.path(), "0000000000000002.spare");
    drop(segment);
    recycled(&mut disk, place.path(), spare);
}

#[test]
fn what_is_read_is_not_used_again() {
    let place = place();
    let dir = Dir::open(place.path()).unwrap();
    let mut disk = open(place.path(), 1, Engine::Uring);
    assert!(open_to_read(&dir, 1).unwrap().is_none());
    let segment = made(&mut disk, 1).unwrap();
    let reader = open_to_read(&dir, 1).unwrap().unwrap();
    let second = open_to_read(&dir, 1).unwrap().unwrap();
    // The reader sees what is written from now on, though that goes past the page cache.
    write(&mut disk, &segment, 0..PAGES);
    drop(segment);
    disk.remove(1).unwrap();
    assert!(open_to_read(&dir, 1).unwrap().is_none());
    drop(second);
    let other = made(&mut disk, 2).unwrap();
    disk.write(0, &other, 0, &[pages(7..8)]);
    ends(&mut disk, 1)[&0].as_ref().unwrap();
    let to = empty(2 * BLOCK_BYTES);
    reader.read(0, &to).unwrap();
    let mut expected: Vec<u8> = (0..PAGES).flat_map(page).collect();
    expected.resize(2 * BLOCK_BYTES as usize, 0);
    assert!(bytes_of(&to) == expected);
    let spare = inode(place.path(), "0000000000000001.spare");
    drop(reader);
    recycled(&mut disk, place.path(), spare);
}

#[test]
fn who_locks_too_late_finds_out() {
    let place = place();
    let dir = Dir::open(place.path()).unwrap();
    let [old, new] = ["old", "new"].map(|name| place.path().join(name));
    let locked = |meanwhile: &dyn Fn()| {
        fs::write(&old, "").unwrap();
        let open = || {
            let file = dir.open_file("old", false)?;
            meanwhile();
            Ok(file)
        };
        let lock = Lock::try_shared::<FileError>(open, 1).unwrap();
        assert!(lock.is_some());
        if_named(&dir, "old", lock).unwrap().is_some()
    };
    assert!(locked(&|| {}));
    assert!(!locked(&|| fs::rename(&old, &new).unwrap()));
    assert!(!locked(&|| {
        fs::rename(&old, &new).unwrap();
        fs::write(&old, "").unwrap();
    }));
}

#[test]
fn a_reader_never_sees_a_file_that_was_used_again() {
    const LAST: u64 = 200;
    let place = place();
    let mut disk = open(place.path(), 1, Engine::Uring);
    let dir = Dir::open(place.path()).unwrap();
    let newest = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (one, two) = (empty(PAGE_BYTES), empty(PAGE_BYTES));
            let mut seen = 0;
            loop {
                let newest = newest.load(Ordering::Relaxed);
                for first in newest.saturating_sub(4)..=newest + 1 {
                    let Some(reader) = open_to_read(&dir, first).unwrap() else { continue };
                    reader.read(0, &one).unwrap();
                    thread::sleep(Duration::from_millis(2));
                    reader.read(0, &two).unwrap();
                    let (one, two) = (bytes_of(&one), bytes_of(&two));
                    // What the segment was before is gone only for what its own writer wrote.
                    assert!(one == two || two == page(first), "block {first}");
                    seen += 1;
                }
                if newest == LAST {
                    break println!("{seen} looks");
                }
            }
        });
        for first in 1..=LAST {
            let segment = made(&mut disk, first).unwrap();
            disk.write(0, &segment, 0, &[pages(first..first + 1)]);
            ends(&mut disk, 1)[&0].as_ref().unwrap();
            newest.store(first, Ordering::Relaxed);
            drop(segment);
            if first > 3 {
                disk.remove(first - 3).unwrap();
            }
        }
    });
}

#[test]
fn what_a_dead_writer_was_making_is_removed_and_that_of_a_live_one_is_not() {
    let place = place();
    let [dead, live] = ["0000000000000001.new", "0000000000000002.new"];
    fs::write(place.path().join(dead), "").unwrap();
    let dir = Dir::open(place.path()).unwrap();
    let lock =
        Lock::try_exclusive::<FileError>(|| dir.create_file(live, 0o600), 0..1).unwrap().unwrap();
    let mut disk = open(place.path(), 1, Engine::Uring);
    assert_eq!(names(place.path()), [live]);
    assert_eq!(made(&mut disk, 2).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    drop(lock);
    while made(&mut disk, 2).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(names(place.path()), ["0000000000000002.segment"]);
}

/// Runs `test` with a file system of its own, in a thread with mounts of its own.
fn with_mount(arguments: &[&str], test: impl FnOnce(&Path) + Send) {
    let place = place();
    thread::scope(|scope| {
        let run = || {
            // SAFETY: takes no pointer; what is unshared is the thread's own from then on.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                println!("skipped: only root may mount a file system");
                return;
            }
            let mount = |arguments: &[&str]| {
                let mut command = Command::new("mount");
                command.args(arguments).status().is_ok_and(|status| status.success())
            };
            let path = place.path().to_str().unwrap();
            if mount(&["--make-rprivate", "/"]) && mount(&[arguments, &[path]].concat()) {
                test(place.path());
            } else {
                println!("skipped: {arguments:?} cannot be mounted");
            }
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    with_mount(&["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"], |place| {
        let mut disk = open(place, 64, Engine::Uring);
        let error = made(&mut disk, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert!(error.to_string().contains("0000000000000001.new"), "{error}");
        assert!(names(place).is_empty());
        let mut disk = open(place, 16, Engine::Uring);
        let segment = made(&mut disk, 1).unwrap();
        write(&mut disk, &segment, 0..16 * PAGES);
    });
}

fn is_direct(segment: &FileSegment) -> bool {
    // SAFETY: takes no pointer; the descriptor is open while `segment` is borrowed.
    let flags = unsafe { libc::fcntl(segment.file().unwrap().as_raw_fd(), libc::F_GETFL) };
    assert_eq!(flags & libc::O_NONBLOCK, 0);
    flags & libc::O_DIRECT != 0
}

#[test]
fn a_file_system_that_wants_its_page_cache_has_it() {
    // It has neither O_DIRECT nor `fallocate`.
    with_mount(&["-t", "ramfs", "-o", "mode=700", "ramfs"], |place| {
        let file = File::create(place.join("0000000000000001.segment")).unwrap();
        file.set_len(BLOCK_BYTES).unwrap();
        for engine in ENGINES {
            let mut disk = open(place, 1, engine);
            let segment = opened(&mut disk, 1);
            assert!(!is_direct(&segment));
            write(&mut disk, &segment, 0..PAGES);
            disk.flush(1, &segment);
            ends(&mut disk, 1)[&1].as_ref().unwrap();
            let to = empty(BLOCK_BYTES);
            disk.read(&segment, 0, &to).unwrap();
            assert!(bytes_of(&to) == (0..PAGES).flat_map(page).collect::<Vec<_>>());
            assert_eq!(made(&mut disk, 2).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        assert_eq!(names(place), ["0000000000000001.segment"]);
    });
}

/// Has the kernel refuse a call to this thread, and to those that it starts.
fn refuse(call: libc::c_long) {
    let step = |code: u32, jf, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut steps = [
        // The number of the call is what comes first.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its steps live through the call, which copies them.
    let result =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0);
}

#[test]
fn without_io_uring_it_goes_on_with_calls_that_wait() {
    let place = place();
    thread::scope(|scope| {
        let run = || {
            refuse(libc::SYS_io_uring_setup);
            assert!(Uring::new().is_err());
            let mut disk = open(place.path(), 1, Engine::Uring);
            let segment = made(&mut disk, 1).unwrap();
            write(&mut disk, &segment, 0..PAGES);
            disk.flush(1, &segment);
            ends(&mut disk, 1)[&1].as_ref().unwrap();
        };
        scope.spawn(run).join().unwrap();
    });
    let found = fs::read(place.path().join("0000000000000001.segment")).unwrap();
    assert!(found == (0..PAGES).flat_map(page).collect::<Vec<_>>());
}

#[test]
fn where_io_uring_is_refused_later_all_that_is_asked_fails() {
    let place = place();
    thread::scope(|scope| {
        let run = || {
            let mut disk = open(place.path(), 1, Engine::Uring);
            if Uring::new().is_err() {
                println!("skipped: there is no io_uring");
                return;
            }
            let segment = made(&mut disk, 1).unwrap();
            refuse(libc::SYS_io_uring_enter);
            for id in 0..3 {
                disk.write(id, &segment, id * PAGE_BYTES, &[pages(0..1)]);
            }
            while disk.completed().is_none_or(|end| {
                assert_eq!(end.result.unwrap_err().raw_os_error(), Some(libc::EPERM));
                end.id != 2
            }) {}
            disk.flush(3, &segment);
            assert!(ends(&mut disk, 1)[&3].is_err());
        };
        scope.spawn(run).join().unwrap();
    });
}

const CHILD_VARIABLE: &str = "TICKCAST_TEST_DISK";

/// Blocks that a child writes over and over, all of them at a time, until it is killed.
const CHILD_BLOCKS: u64 = 256;

#[test]
#[ignore = "the other process of `a_segment_is_locked_until_the_requests_of_the_dead_are_over`"]
fn child() {
    let Ok(place) = std::env::var(CHILD_VARIABLE) else { return };
    let mut disk = open(Path::new(&place), CHILD_BLOCKS, Engine::Uring);
    let segment = made(&mut disk, 1).unwrap();
    let parts = [pages(0..PAGES), pages(PAGES..2 * PAGES)];
    let write = |disk: &mut FileDisk, block: u64, round: u64| {
        let part = &parts[round as usize % 2];
        disk.write(block, &segment, block * BLOCK_BYTES, std::slice::from_ref(part));
    };
    let mut rounds = [0; CHILD_BLOCKS as usize];
    for block in 0..CHILD_BLOCKS {
        write(&mut disk, block, 0);
    }
    loop {
        let Some(end) = disk.completed() else { continue };
        let round = &mut rounds[end.id as usize];
        *round += 1;
        write(&mut disk, end.id, *round);
        if end.id == 0 && *round == 3 {
            println!("under way");
        }
    }
}

#[test]
fn a_segment_is_locked_until_the_requests_of_the_dead_are_over() {
    for _ in 0..3 {
        let place = place();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["journal::disk::tests::child", "--exact", "--ignored", "--nocapture"])
            .env(CHILD_VARIABLE, place.path())
            .stdout(Stdio::piped());
        let before_exec = || {
            // SAFETY: takes no pointer.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        };
        // SAFETY: what runs between fork and exec is one system call.
        let mut child = unsafe { command.pre_exec(before_exec) }.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("under way")), "the child failed");
        let mut disk = open(place.path(), CHILD_BLOCKS, Engine::Uring);
        let (one, two) = (empty(CHILD_BLOCKS * BLOCK_BYTES), empty(CHILD_BLOCKS * BLOCK_BYTES));
        assert_eq!(disk.open(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        child.kill().unwrap();
        child.wait().unwrap();

        let segment = opened(&mut disk, 1);
        // Nothing is written to it any more.
        disk.read(&segment, 0, &one).unwrap();
        disk.read(&segment, 0, &two).unwrap();
        assert!(bytes_of(&one) == bytes_of(&two));
    }
}
