//! Full memory, another user, a fork: what needs a process of its own, and sometimes root.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{self, Command};

use tickcast::{
    Bus, Event, FileError, NoticeKind, PublisherError, RemoveError, StartAt, SubscribeError,
    TopicError, WakeUp,
};

use crate::common::child::{self, Child};
use crate::common::{self, ROOT_VARIABLE, TestBus};
use crate::{RING_BYTES, says};

/// Runs a child that says what came of it: `skipped: ...` or `done`.
pub(crate) fn done_in_child(role: &str) {
    let mut child = Child::spawn(role);
    let said = child.hear_or_end().unwrap_or_else(|| panic!("the child ended: {:?}", child.end()));
    if let Some(why) = said.strip_prefix("skipped: ") {
        common::skipped(why);
        return;
    }
    assert_eq!(said, "done");
    child.finish();
}

#[test]
fn a_full_shared_memory_is_an_error_and_no_signal() {
    done_in_child("full");
}

/// In a mount namespace of its own: a small tmpfs, filled.
pub(crate) fn fill_memory() -> Result<(), String> {
    // SAFETY: takes no pointer. The harness's threads do not share what is unshared here.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err("skipped: only root may mount a small tmpfs".into());
    }
    let place = common::root().join("small");
    fs::create_dir_all(&place).expect("a directory");
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).status().is_ok_and(|status| status.success())
    };
    let path = place.to_str().expect("text");
    if !mount(&["--make-rprivate", "/"])
        || !mount(&["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", path])
    {
        return Err("skipped: no tmpfs can be mounted".into());
    }
    // SAFETY: this process reads its environment through the standard library only.
    unsafe { std::env::set_var(ROOT_VARIABLE, path) };
    let bus = Bus::create("small").expect("room for that");
    for huge in [false, true] {
        let topic = bus.topic("big").ring_bytes(4 << 20);
        let topic = if huge { topic.huge_pages() } else { topic };
        let error = topic.create().expect_err("too big");
        assert!(matches!(error, TopicError::File(FileError::Full(_))), "{error}");
        says(error, &["no room left", "remount,size="]);
        assert!(bus.topics().expect("readable").is_empty());
    }
    // What was taken by the failures is free again.
    let topic = bus.topic("fits").ring_bytes(1 << 20).create().expect("room");
    let error = bus.topic("two").ring_bytes(RING_BYTES).partitions(4).create().expect_err("full");
    says(error, &["no room left"]);
    let mut publisher = topic.publisher(0).expect("the first");
    fs::write(place.join("filler"), vec![1u8; 2 << 20]).expect_err("full now");
    for at in 0..30_000u64 {
        publisher.publish(at, &[at; 12]).expect("its memory was taken at the start");
    }
    Ok(())
}

#[test]
fn another_user_may_do_what_the_mode_says() {
    // The directory of all buses is for its owner alone; others must be able to look into it.
    let root = fs::Permissions::from_mode(0o755);
    fs::set_permissions(common::root(), root).expect("it is ours");
    let names: Vec<_> = [0o664, 0o660]
        .map(|mode| {
            let name = TestBus::new_name();
            let bus = Bus::builder(&name).mode(mode).create().expect("a bus");
            let topic = bus.topic("t").ring_bytes(RING_BYTES).wake_up(WakeUp::Prompt).create();
            topic
                .expect("a topic")
                .publisher(0)
                .expect("the first")
                .publish(1, b"hello")
                .expect("room");
            name
        })
        .into();
    done_in_child(&format!("nobody {} {}", names[0], names[1]));
    for name in names {
        Bus::remove(&name, true).expect("it is ours");
    }
}

/// As a user who is neither the owner nor in the group.
pub(crate) fn be_nobody(open: &str, closed: &str) -> Result<(), String> {
    const NOBODY: u32 = 65_534;
    // SAFETY: a group list of no entries is read from nowhere.
    if unsafe { libc::setgroups(0, std::ptr::null()) } != 0 {
        return Err("skipped: only root may become somebody else".into());
    }
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::setgid(NOBODY) }, 0);
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
    child::die_with_parent();

    let denied =
        |error: &dyn std::fmt::Display| says(error, &["permission denied", "ask its owner"]);
    denied(&Bus::open(closed).expect_err("closed to others"));
    denied(&Bus::remove(closed, true).expect_err("closed to others"));
    denied(&Bus::remove(open, true).expect_err("not ours"));
    let bus = Bus::open(open).expect("open to read");
    denied(&bus.topic("mine").ring_bytes(RING_BYTES).create().expect_err("not ours"));
    let topic = bus.open_topic("t").expect("open to read");
    let mut lossy = topic.subscribe().start_at(StartAt::Earliest).open().expect("open to read");
    let event = lossy.receive(None).expect("not finished").expect("there is one");
    assert!(matches!(event, Event::Message(message) if message.payload == b"hello"), "{event:?}");
    // Without a word that may be written, sleeping works too.
    let event = lossy.receive(None).expect("not finished").expect("the publisher is gone");
    assert!(matches!(event, Event::Notice(notice) if notice.kind == NoticeKind::PublisherGone));
    denied(&topic.subscribe().reliable().open().expect_err("may not write"));
    denied(&topic.publisher(0).expect_err("may not write"));
    assert_eq!(topic.stat().expect("open to read").partitions[0].next_offset, 1);
    Ok(())
}

#[test]
fn a_forked_child_holds_nothing() {
    done_in_child("fork");
}

#[test]
fn a_forked_child_opens_the_bus_anew() {
    done_in_child("fork-anew");
}

#[test]
fn a_forked_child_of_the_same_process_id_holds_nothing() {
    done_in_child("namespace");
}

/// Has the processes that this one makes from now on count their ids from 1.
fn number_children_anew() -> io::Result<()> {
    // SAFETY: takes no pointer. This process makes no more threads.
    let result = unsafe { libc::unshare(libc::CLONE_NEWPID) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the first process of a pid namespace, which is to fork the first one of another.
pub(crate) fn fork_in_namespace() -> Result<(), String> {
    number_children_anew()
        .map_err(|error| format!("skipped: no pid namespace can be made: {error}"))?;
    done_in_child("fork-first");
    Ok(())
}

/// The first process of a pid namespace: its child is the first one of another.
pub(crate) fn fork_as_first() {
    assert_eq!(process::id(), 1);
    number_children_anew().expect("this worked before");
    assert_eq!(fork_with_everything_open(), 1);
}

/// A process that forks: its child keeps no lock and may drop everything. Returns the id that the
/// child sees itself have.
pub(crate) fn fork_with_everything_open() -> u32 {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(RING_BYTES).reliable_max(1).create().expect("a topic");
    let mut subscriber = topic.subscribe().reliable().open().expect("the slot");
    let mut publisher = topic.publisher(0).expect("the first");
    publisher.publish(1, b"before").expect("room");
    let (mut dropped, mut say_dropped) = io::pipe().expect("a pipe");
    // SAFETY: the child drops, and ends without unwinding or running what is to run at exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        child::die_with_parent();
        drop((subscriber, publisher));
        drop(topic);
        std::mem::forget(bus);
        // A failure is seen by the parent, which hears nothing.
        let _ = say_dropped.write_all(&process::id().to_ne_bytes());
        loop {
            // SAFETY: takes no argument.
            unsafe { libc::pause() };
        }
    }
    drop(say_dropped);
    // Where the child dies of dropping, this is the end of the pipe.
    let mut id = [0; 4];
    dropped.read_exact(&mut id).expect("the child drops everything and lives");
    // Nothing was taken from the parent.
    publisher.publish(2, b"after").expect("room");
    assert!(matches!(topic.publisher(0), Err(PublisherError::Busy { .. })));
    assert!(matches!(topic.subscribe().reliable().open(), Err(SubscribeError::NoSlot { .. })));
    assert_eq!(topic.stat().expect("readable").partitions[0].subscribers.len(), 1);
    assert_eq!(subscriber.poll(10, |event| assert!(matches!(event, Event::Message(_)))), 2);
    // And the child keeps nothing from others.
    drop(publisher);
    drop(subscriber);
    topic.publisher(0).expect("the lock is free");
    topic.subscribe().reliable().open().expect("the slot is free");
    // SAFETY: takes no pointer; the child is ours and not yet waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    u32::from_ne_bytes(id)
}

/// A process that forks: what its child inherits opens nothing, and a bus that the child opens is
/// kept from being removed.
pub(crate) fn fork_and_open_anew() {
    let name = TestBus::new_name();
    let bus = Bus::create(&name).expect("a new bus");
    let topic = bus.topic("t").ring_bytes(RING_BYTES).create().expect("a topic");
    let core = tickcast::runtime::Core::builder("core").agent(Box::new(Nothing));
    let core = core.start().expect("a core");
    let (mut heard, mut say) = io::pipe().expect("a pipe");
    // SAFETY: the only other thread, the core's, only sleeps and polls; the child ends without
    // unwinding or running what is to run at exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        child::die_with_parent();
        let is_forked = |error: &TopicError| matches!(error, TopicError::Forked { .. });
        let publisher = topic.publisher(0);
        let subscriber = topic.subscribe().open();
        let refused = [
            matches!(&publisher, Err(PublisherError::Topic(error)) if is_forked(error)),
            matches!(&subscriber, Err(SubscribeError::Topic(error)) if is_forked(error)),
            bus.open_topic("t").is_err_and(|error| is_forked(&error)),
            bus.topic("new").ring_bytes(RING_BYTES).create().is_err_and(|error| is_forked(&error)),
            topic.stat().is_err_and(|error| is_forked(&error)),
            !core.is_running(),
            matches!(core.stop(), Err(tickcast::runtime::StopError::Forked { .. })),
        ];
        let anew = Bus::open(&name).map(|bus| bus.open_topic("t").map(|it| it.publisher(0)));
        let opened = matches!(anew, Ok(Ok(Ok(_))));
        let said = refused.map(u8::from);
        // A failure is seen by the parent, which hears nothing.
        let _ = say.write_all(&said);
        let _ = say.write_all(&[u8::from(opened)]);
        loop {
            // SAFETY: takes no argument.
            unsafe { libc::pause() };
        }
    }
    drop(say);
    // Where the child dies, this is the end of the pipe.
    let mut said = [0; 8];
    heard.read_exact(&mut said).expect("the child lives");
    assert_eq!(said, [1; 8], "publisher, subscriber, open, create, stat, is_running, stop, anew");
    assert!(core.is_running());
    core.stop().expect("the core is the parent's");
    // The parent's own lock goes: what is left is the child's.
    drop(topic);
    drop(bus);
    assert!(matches!(Bus::remove(&name, false), Err(RemoveError::InUse { .. })));
    // SAFETY: takes no pointer; the child is ours and not yet waited for.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Bus::remove(&name, false).expect("nobody is there");
}

/// An agent without work.
struct Nothing;

impl tickcast::runtime::Agent for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }

    fn poll(&mut self) -> usize {
        0
    }
}
