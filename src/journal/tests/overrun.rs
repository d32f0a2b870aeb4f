//! A publisher that goes on without its journal, again and again, while that is killed or the power
//! cut at any point: also where it goes on behind what it lacks. The files are read as any program
//! reads them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::world::{LOG_ID, POLICIES, World, payload, timestamp_ns};
use crate::journal::blocks::Blocks;
use crate::journal::check::Checker;
use crate::journal::disk::segment_name;
use crate::journal::recovery::RecoveryError;
use crate::journal::start::StartError;
use crate::journal::track::Track;
use crate::journal::verify::{Verification, verify};
use crate::journal::writer::{Fault, SyncPolicy};
use crate::log::block::BLOCK_BYTES;
use crate::log::lane::StartAt;
use crate::log::pages;
use crate::log::reader::Frame;
use crate::shm::dir::Dir;

const MESSAGES: u64 = 40_000;

/// Steps between two ends of a journal at most.
const STEPS: u64 = 150;

/// What a reader got out of the files.
struct Seen {
    lost: Vec<(u64, u64)>,
    end: u64,
    verified: Verification,
}

/// Reads the files of the machine. All is as it was published, once and in order. Blocks are found
/// by their offsets, or earlier ones where a crash left holes.
fn read(world: &World, is_closed: bool) -> Seen {
    let place = tempfile::tempdir().expect("a directory");
    let path = fs::canonicalize(place.path()).expect("a path");
    let machine = world.machine.borrow();
    let segment_blocks = machine.segment_blocks();
    for first in machine.firsts() {
        let file = File::create(path.join(segment_name(first))).expect("a file");
        let bytes = machine.read(first, 0, segment_blocks * BLOCK_BYTES);
        file.write_all_at(&bytes, 0).expect("written");
    }
    let blocks = || {
        let dir = Dir::open(&path).expect("a directory");
        Blocks::open(dir, LOG_ID, segment_blocks).expect("readable")
    };
    let checker = Checker::new(blocks(), LOG_ID).expect("readable");
    let verified = verify(checker, &path, |_, _| {}).expect("readable");
    check_find(&mut blocks(), machine.firsts().first().copied().unwrap_or(0), is_closed);
    let mut seen = Seen { lost: Vec::new(), end: 0, verified };
    let track = Track::open(blocks(), StartAt::Earliest, 1 << 20).expect("readable");
    let Some(mut track) = track else { return seen };
    while track.ready().expect("readable") {
        match track.frame().expect("it is ready") {
            Frame::Message(message) => {
                let offset = message.offset;
                if seen.end == 0 && offset > 0 {
                    // Nothing was on disk yet when the ring went past it.
                    seen.lost.push((0, offset - 1));
                    seen.end = offset;
                }
                assert_eq!((offset, message.timestamp_ns), (seen.end, timestamp_ns(offset)));
                assert!(message.payload == payload(offset), "message {offset}");
                seen.end += 1;
            }
            Frame::Lost { from, to, .. } => {
                assert_eq!(from, seen.end);
                seen.lost.push((from, to));
                seen.end = to + 1;
            }
            Frame::Control { .. } => unreachable!("nobody publishes any"),
        }
        track.consume();
    }
    seen
}

/// Fails unless each block is found by its first offset, and by what is next to that.
fn check_find(blocks: &mut Blocks, first: u64, is_closed: bool) {
    let mut headers = Vec::new();
    for number in first..blocks.end() {
        headers.extend(blocks.header(number).expect("readable").map(|found| (number, found)));
    }
    for due in headers.iter().flat_map(|(_, found)| [found.first_offset, found.first_offset + 1]) {
        let last = headers.iter().rev().find(|(_, found)| found.first_offset < due);
        let due_number = last.or(headers.first()).map(|(number, _)| *number);
        let found = blocks.find(u64::MAX, |header| header.first_offset < due).expect("readable");
        assert!(found <= due_number, "offset {due}: {found:?} behind {due_number:?}");
        assert!(found == due_number || !is_closed, "offset {due}: {found:?} for {due_number:?}");
    }
    for (first, count) in blocks.places().into_iter().filter(|_| is_closed) {
        let there = headers.iter().filter(|(number, _)| (first..first + count).contains(number));
        assert_eq!(blocks.used(first, count).expect("readable"), there.count() as u64);
    }
}

/// Fails unless all that was acknowledged is there, but for what the journal said that it lacks.
fn check(world: &World, acknowledged: u64, what: &str) {
    let Seen { lost, end, verified } = read(world, false);
    assert_eq!(verified.damages, [], "{what}");
    assert!(end >= acknowledged, "{what}: {end} of {acknowledged}");
    let is_told = |offset: u64| world.missing.iter().any(|missing| missing.contains(&offset));
    for (from, to) in lost {
        for offset in from..(to + 1).min(acknowledged) {
            assert!(is_told(offset), "{what}: message {offset} of {acknowledged}");
        }
    }
}

/// A publisher that goes on without its journal at times, and dies at others.
fn begin(seed: u64, policy: SyncPolicy) -> World {
    // Where the journal goes on there is room in the same segment, or not.
    let segment_blocks = if seed.is_multiple_of(2) { 64 } else { 4 };
    let mut world = World::new(seed, segment_blocks, policy);
    world.machine.borrow_mut().may_change = true;
    world.start().expect("nothing is there yet");
    // It begins with whatever the ring has.
    while world.page(pages::journal::WRITTEN_OFFSET) == 0 {
        world.step(100).expect("a disk that works");
    }
    world.overruns = true;
    world.deaths = 400;
    world
}

/// Starts a journal. False where the power went meanwhile.
fn start(world: &mut World, is_anew: bool) -> bool {
    match if is_anew { world.begin_anew() } else { world.start() } {
        Ok(()) => true,
        Err(StartError::Recovery(RecoveryError::Io { .. })) if world.machine.borrow().is_off() => {
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Goes on until the machine stops, or everything is published. Returns how often the journal was
/// left behind.
fn run(world: &mut World) -> u64 {
    let mut evictions = 0;
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() >= MESSAGES {
            return evictions;
        }
        match world.step(MESSAGES) {
            Ok(()) => {}
            Err(Fault::Evicted) => {
                evictions += 1;
                world.close();
                if !start(world, false) {
                    return evictions;
                }
            }
            Err(fault) => panic!("{fault}"),
        }
    }
    panic!("it does not go on: {:?}", world.journal);
}

/// Returns how often a journal was left behind, and how often it came to its end.
fn overrun(seed: u64, policy: SyncPolicy) -> (u64, u64) {
    let mut world = begin(seed, policy);
    let (mut evictions, mut ends) = (0, 0);
    let (mut is_running, mut has_ring) = (true, true);
    while world.publisher.offset() < MESSAGES {
        if is_running {
            let at = world.machine.borrow().steps + 1 + world.random.below(STEPS);
            world.machine.borrow_mut().cut_at = Some(at);
            evictions += run(&mut world);
        }
        let acknowledged = world.acknowledged();
        let what = format!("{policy:?}, {seed}, {ends}");
        let is_cut = world.random.one_in(2);
        world.journal = None;
        match is_cut {
            true => world.machine.borrow_mut().cut_power(),
            false => world.machine.borrow_mut().kill(),
        }
        ends += 1;
        check(&world, acknowledged, &what);
        has_ring &= !is_cut;
        // It may come to its end while it begins, if not for ever.
        let at = world.machine.borrow().steps + 1 + world.random.below(STEPS / 5 + ends);
        world.machine.borrow_mut().cut_at = Some(at);
        is_running = start(&mut world, !has_ring);
        has_ring |= is_running;
    }
    (evictions, ends)
}

#[test]
fn a_journal_that_is_left_behind_loses_what_it_tells_and_nothing_else() {
    for policy in POLICIES {
        let (mut evictions, mut ends) = (0, 0);
        for seed in 0..10 {
            let (more_evictions, more_ends) = overrun(seed, policy);
            (evictions, ends) = (evictions + more_evictions, ends + more_ends);
        }
        println!("{policy:?}: left behind {evictions} times, {ends} ends");
        assert!(evictions > 20 && ends > 100);
    }
}

/// Where nobody kills it, what is lost is what was counted, to the message.
#[test]
fn what_a_journal_lacks_is_told_and_counted() {
    for policy in POLICIES {
        for seed in 0..10 {
            let mut world = begin(seed, policy);
            run(&mut world);
            world.overruns = false;
            world.settle().expect("a disk that works");
            let lost = world.page(pages::journal::LOST);
            world.close();
            let Seen { lost: told, end, verified } = read(&world, true);
            assert_eq!((end, verified.next_offset), (MESSAGES, MESSAGES));
            assert_eq!((verified.missed, verified.damages), (lost, vec![]));
            assert_eq!(verified.messages, MESSAGES - lost);
            assert_eq!(told.iter().map(|(from, to)| to - from + 1).sum::<u64>(), lost);
            let missing: Vec<_> =
                world.missing.iter().map(|part| (part.start, part.end - 1)).collect();
            assert_eq!(told, missing);
        }
    }
}
