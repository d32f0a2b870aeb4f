//! Huge pages: taken from a hugetlbfs that has them, done without where there is none, and given
//! back.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::{fs, io};

use log::{Level, LevelFilter, Log, Metadata, Record};
use tickcast::{Bus, Event, Topic};

use crate::circumstances::done_in_child;
use crate::common::child::{self, Child};
use crate::common::{self, TestBus};

/// Where the kernel is told how many huge pages to set aside, of the whole host.
const POOL: &str = "/proc/sys/vm/nr_hugepages";

const MIB: u64 = 1 << 20;

/// Held by a test that looks at the host's huge pages.
static HOST: Mutex<()> = Mutex::new(());

fn host() -> MutexGuard<'static, ()> {
    HOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what the library logs.
struct Kept(Mutex<Vec<(Level, String)>>);

static LOG: Kept = Kept(Mutex::new(Vec::new()));

impl Log for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &Record<'_>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((record.level(), record.args().to_string()));
    }
    fn flush(&self) {}
}

/// Begins to keep what is logged.
fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LOG).expect("nobody else sets one");
        log::set_max_level(LevelFilter::Debug);
    });
}

/// Whether something was logged that has all of these in it.
fn is_logged(level: Level, parts: &[&str]) -> bool {
    let kept = LOG.0.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().any(|(of, text)| *of == level && parts.iter().all(|part| text.contains(part)))
}

/// A line of `/proc/meminfo`.
fn pages(what: &str) -> u64 {
    let info = fs::read_to_string("/proc/meminfo").expect("readable");
    let line = info.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    line.map_or(0, |number| number.trim().parse().expect("a number without a unit"))
}

/// Sends messages through partition `partition`, more than its ring holds.
fn pass_messages(topic: &Topic, partition: u32) {
    let mut publisher = topic.publisher(partition).expect("nobody else publishes");
    let mut subscriber = topic.subscribe().partition(partition).reliable().open().expect("a slot");
    let count = 2 * topic.ring_bytes() / 4096;
    for at in 0..count {
        publisher.publish(at, &[at; 512]).expect("room");
        let taken = subscriber.poll(1, |event| {
            let Event::Message(message) = event else { panic!("{event:?}") };
            assert_eq!(message.read::<[u64; 512]>(), Ok(&[at; 512]));
        });
        assert_eq!(taken, 1);
    }
}

/// Whether this process has a mapping of `file` for which transparent huge pages were asked.
fn is_advised(file: &Path) -> bool {
    let maps = fs::read_to_string("/proc/self/smaps").expect("readable");
    let file = file.to_str().expect("text");
    let mut is_of_file = false;
    maps.lines().any(|line| {
        if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            is_of_file = line.ends_with(file);
        }
        is_of_file && line.strip_prefix("VmFlags:").is_some_and(|flags| flags.contains(" hg"))
    })
}

#[test]
fn huge_pages_that_are_not_there_are_done_without() {
    let _host = host();
    let has_mount =
        fs::read_to_string("/proc/self/mounts").expect("readable").contains(" hugetlbfs ");
    if has_mount && pages("HugePages_Free") > 0 {
        common::skipped("this host has huge pages");
        return;
    }
    keep_log();
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(8 * MIB).huge_pages().create().expect("a topic");
    let bytes = (8 * MIB).to_string();
    assert!(is_logged(Level::Warn, &["no hugetlbfs mount", &bytes, "transparent huge pages"]));
    // The ring lies where it does without, and transparent ones were asked for.
    let ring = bus.file("t", "0.log");
    assert_eq!(ring.metadata().expect("there").len(), 8 * MIB);
    let publisher = topic.publisher(0).expect("the first");
    let is_refused = is_logged(Level::Debug, &["no transparent huge pages"]);
    assert!(is_advised(&ring) || is_refused, "nobody asked the kernel for huge pages");
    drop(publisher);
    pass_messages(&topic, 0);
    topic.stat().expect("readable");
}

/// Gives the host's pool its size back.
struct PoolSize(String);

impl Drop for PoolSize {
    fn drop(&mut self) {
        fs::write(POOL, &self.0).expect("it could be written before");
    }
}

/// Sets 24 more huge pages aside.
fn enlarge_pool() -> io::Result<PoolSize> {
    let before = fs::read_to_string(POOL)?.trim().to_owned();
    let count: u64 = before.parse().map_err(io::Error::other)?;
    fs::write(POOL, (count + 24).to_string())?;
    Ok(PoolSize(before))
}

#[test]
fn huge_pages_that_are_there_are_used_and_given_back() {
    if std::env::var_os("TICKCAST_TEST_HUGE_PAGES").is_none() {
        return common::skipped("TICKCAST_TEST_HUGE_PAGES=1 lets this test change the host's pool");
    }
    let _host = host();
    // Given back here, whatever becomes of the child.
    let pool = match enlarge_pool() {
        Ok(pool) => pool,
        Err(error) => return common::skipped(format_args!("{POOL} cannot be set: {error}")),
    };
    if pages("HugePages_Free") < 24
        || !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists()
    {
        return common::skipped("this host has no 24 free huge pages of 2 MiB");
    }
    let place = tempfile::tempdir().expect("a directory to mount at");
    done_in_child(&format!("mount-huge {}", place.path().to_str().expect("text without spaces")));
    drop(pool);
}

/// In a mount namespace of its own: a hugetlbfs.
pub(crate) fn mount_huge_pages(place: &str) -> Result<(), String> {
    // SAFETY: takes no pointer. The harness's threads do not share what is unshared here.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err("skipped: only root may mount a hugetlbfs".into());
    }
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
    };
    if !mount(&["--make-rprivate", "/"])
        || !mount(&["-t", "hugetlbfs", "-o", "pagesize=2M", "hugetlbfs", place])
    {
        return Err("skipped: no hugetlbfs can be mounted".into());
    }
    // What is mounted is found in the table of the process, and so far this is a thread's affair.
    Err(child::go_on_as(&format!("huge {place}")).to_string())
}

/// Where a hugetlbfs is mounted: a topic on it, and what builders leave there that are killed.
pub(crate) fn use_huge_pages(place: &str) -> Result<(), String> {
    keep_log();
    let before = pages("HugePages_Free");
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(16 * MIB).partitions(2).huge_pages().create();
    let topic = topic.expect("a topic");
    assert!(!is_logged(Level::Warn, &["huge pages"]), "it did without");
    assert_eq!(before - pages("HugePages_Free"), 16);
    assert_eq!(pages("HugePages_Rsvd"), 0, "promised only");
    assert!(!bus.file("t", "0.log").exists());
    for partition in 0..2 {
        pass_messages(&topic, partition);
    }
    assert_eq!(before - pages("HugePages_Free"), 16);
    drop(topic);
    Bus::remove(bus.name(), true).expect("forced, as this process has it open");
    assert_eq!(pages("HugePages_Free"), before, "huge pages stay taken");
    leave_huge_pages(Path::new(place), before);
    Ok(())
}

/// Builders that are killed, and what becomes of what they leave in the hugetlbfs at `place`.
fn leave_huge_pages(place: &Path, free: u64) {
    let files = || fs::read_dir(place).expect("readable").count();
    let bus = TestBus::new();
    let create = |name: &str| {
        let topic = bus.topic(name).ring_bytes(16 * MIB).partitions(2).huge_pages().create();
        topic.expect("a topic")
    };
    let hide = |name: &str| {
        let dir = bus.file(name, "topic").parent().expect("the topic's directory").to_owned();
        fs::rename(&dir, dir.with_file_name(format!(".tmp-{name}-1-1"))).expect("it is there");
    };
    let be_killed = || {
        let mut child = Child::spawn(&format!("huge-killed {}", bus.name()));
        assert_eq!(child.hear_or_end(), None);
        assert_eq!(child::signal_of(child.end().expect("it is dead")), Some(libc::SIGXFSZ));
    };
    be_killed();
    assert_eq!(files(), 1, "the builder was not killed in the midst of it");
    create("t");
    assert_eq!(files(), 2);
    // One that was killed when all was there but the name: too few pages are left for another.
    hide("t");
    create("t");
    assert!(!is_logged(Level::Warn, &["huge pages"]), "it did without");
    assert_eq!(files(), 2);
    assert_eq!(free - pages("HugePages_Free"), 16);
    // Whoever removes the bus removes what nobody has come upon.
    be_killed();
    hide("t");
    assert_eq!(files(), 3);
    Bus::remove(bus.name(), true).expect("forced, as this process has it open");
    assert_eq!((files(), pages("HugePages_Free")), (0, free));
}

/// A builder that dies when it makes room for the first ring, whose file is there by then.
pub(crate) fn be_killed_while_building(bus: &str) {
    let bus = Bus::open(bus).expect("the bus");
    for (what, bytes) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_FSIZE, MIB)] {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the pointer is to an `rlimit` that lives through the call.
        assert_eq!(unsafe { libc::setrlimit(what, &limit) }, 0);
    }
    let made = bus.topic("killed").ring_bytes(2 * MIB).huge_pages().create();
    child::say(&format!("lives, with {made:?}"));
}
