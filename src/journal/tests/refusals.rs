//! A disk that refuses: writes in part or not at all, no room, flushes that fail. The journal goes
//! on when the disk does, says how it is, and keeps what it promised.

use super::world::{POLICIES, World};
use crate::journal::disk::faulty::Faults;
use crate::journal::status::JournalState;
use crate::journal::writer::{Fault, SyncPolicy};
use crate::log::pages::journal::{ERROR, ERRORS};

const MESSAGES: u64 = 2_000;

fn short_writes() -> Faults {
    Faults { short_write: 3, ..Faults::default() }
}

fn write_errors() -> Faults {
    Faults { write_error: 5, ..Faults::default() }
}

fn no_room() -> Faults {
    Faults { full: 2, ..Faults::default() }
}

fn failed_flushes() -> Faults {
    Faults { flush_error: 4, ..Faults::default() }
}

fn all_of_it() -> Faults {
    Faults { short_write: 5, write_error: 10, flush_error: 6, full: 3, ..Faults::default() }
}

/// Starts the journal anew where it cannot go on.
fn go_on(world: &mut World, result: Result<(), Fault>) {
    match result {
        Ok(()) => {}
        Err(Fault::Flush(_)) => world.restart(),
        Err(fault) => panic!("{fault}"),
    }
}

/// Runs until the power goes, or to the end, where the disk refuses nothing more.
fn run(seed: u64, policy: SyncPolicy, faults: &Faults, cut_at: Option<u64>) -> World {
    let mut world = World::new(seed, 4, policy);
    world.machine.borrow_mut().faults = faults.clone();
    world.start().expect("nothing is there yet");
    world.machine.borrow_mut().cut_at = cut_at;
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() == MESSAGES {
            break;
        }
        let errors = world.page(ERRORS);
        let result = world.step(MESSAGES);
        if world.page(ERRORS) > errors {
            assert_ne!(world.page(ERROR), 0);
        }
        go_on(&mut world, result);
    }
    if world.machine.borrow().is_off() {
        return world;
    }
    assert_eq!(world.publisher.offset(), MESSAGES, "it does not go on: {:?}", world.journal);
    world.machine.borrow_mut().faults = Faults::default();
    let mut result = world.settle();
    while result.is_err() {
        go_on(&mut world, result);
        result = world.settle();
    }
    // Until the disk was asked again for everything that it refused.
    for _ in 0..100 {
        world.poll().expect("a disk that works");
    }
    world
}

/// With a power cut at many points, and with none.
fn refuse(faults: &Faults) {
    for policy in POLICIES {
        for seed in 0..3 {
            let mut world = run(seed, policy, faults, None);
            let steps = world.machine.borrow().steps;
            if world.durable_offset() < MESSAGES {
                // A failed flush, and nothing in the ring to write again: nothing is promised any
                // more until a journal is started that reads what is there.
                assert_eq!((policy, faults.flush_error > 0), (SyncPolicy::None, true));
                assert_eq!(world.state(), JournalState::Failing);
                world.restart();
                world.settle().expect("the disk works");
            }
            assert_eq!(world.durable_offset(), MESSAGES);
            assert_eq!(world.state(), JournalState::Running);
            world.assert_never_evicted();
            world.close();
            world.machine.borrow_mut().cut_power();
            assert_eq!(world.check(), MESSAGES);
            for cut_at in (1..steps).step_by(1 + steps as usize / 40) {
                let mut world = run(seed, policy, faults, Some(cut_at));
                cut_power(&mut world, &format!("{policy:?} {seed} {cut_at}"));
            }
        }
    }
}

#[test]
fn what_was_written_in_part_is_written_on() {
    refuse(&short_writes());
}

#[test]
fn what_was_not_written_is_written_again() {
    refuse(&write_errors());
}

#[test]
fn a_full_disk_is_waited_for() {
    refuse(&no_room());
}

#[test]
fn what_a_failed_flush_was_for_is_written_again() {
    refuse(&failed_flushes());
}

#[test]
fn all_of_it_at_once_loses_nothing() {
    refuse(&all_of_it());
}

/// Goes on for at most so many steps of the machine, and stops there.
fn stop_after(world: &mut World, steps: u64) {
    let at = world.machine.borrow().steps + 1 + world.random.below(steps);
    world.machine.borrow_mut().cut_at = Some(at);
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() == MESSAGES {
            return;
        }
        let result = world.step(MESSAGES);
        go_on(world, result);
    }
}

/// The power is cut, and what was acknowledged is there, also without the segments that the journal
/// let go by then.
fn cut_power(world: &mut World, what: &str) {
    let (acknowledged, told) = (world.durable_offset(), world.told());
    world.assert_never_evicted();
    world.machine.borrow_mut().cut_power();
    let there = world.check();
    assert!(there >= acknowledged, "{what}: {there} of {acknowledged}");
    world.check_without_what_may_go(told, acknowledged);
}

#[test]
fn kills_and_refusals_together_lose_nothing() {
    for policy in POLICIES {
        for seed in 0..60 {
            let mut world = World::new(seed, 2, policy);
            world.machine.borrow_mut().faults = all_of_it();
            world.start().expect("nothing is there yet");
            for _ in 0..1 + seed % 6 {
                stop_after(&mut world, 40);
                world.kill(None);
            }
            stop_after(&mut world, 20);
            cut_power(&mut world, &format!("{policy:?} {seed}"));
        }
    }
}

/// What was begun in a fresh segment is not taken for the newest once the log went on elsewhere.
#[test]
fn a_kill_right_after_a_failed_flush_loses_nothing() {
    for policy in [POLICIES[1], POLICIES[2]] {
        for seed in 0..100 {
            let mut world = World::new(seed, 4, policy);
            world.start().expect("nothing is there yet");
            stop_after(&mut world, 60);
            for _ in 0..3 {
                world.machine.borrow_mut().cut_at = None;
                world.machine.borrow_mut().faults = failed_flushes();
                let errors = world.page(ERRORS);
                while world.page(ERRORS) == errors && world.publisher.offset() < MESSAGES {
                    let result = world.step(MESSAGES);
                    go_on(&mut world, result);
                }
                world.machine.borrow_mut().faults = Faults::default();
                stop_after(&mut world, 12);
                world.kill(None);
                stop_after(&mut world, 25);
                if seed % 3 == 0 {
                    world.kill(None);
                }
            }
            cut_power(&mut world, &format!("{policy:?} {seed}"));
        }
    }
}

#[test]
fn a_refusal_is_told_as_long_as_it_lasts() {
    for (faults, code) in [
        (Faults { write_error: 1, ..Faults::default() }, libc::EIO),
        (Faults { full: 1, ..Faults::default() }, libc::ENOSPC),
        (Faults { flush_error: 1, ..Faults::default() }, libc::EIO),
    ] {
        let mut world = World::new(1, 4, SyncPolicy::Always);
        world.start().expect("nothing is there yet");
        // Into the second segment, as the first one cannot be written again beside itself.
        while world.page(crate::log::pages::journal::DURABLE) < 5 << 16 {
            world.step(MESSAGES).expect("a disk that works");
        }
        assert_eq!(world.state(), JournalState::Running);
        assert_eq!((world.page(ERROR), world.page(ERRORS)), (0, 0));
        world.machine.borrow_mut().faults = faults.clone();
        let offset = world.publisher.offset();
        for _ in 0..2_000 {
            let result = world.step(MESSAGES);
            go_on(&mut world, result);
        }
        assert_eq!(world.state(), JournalState::Failing, "{faults:?}");
        assert_eq!(world.page(ERROR), code as u64);
        assert!(world.page(ERRORS) > 3);
        assert!(world.publisher.offset() > offset, "as far as there is room in the ring");
        world.machine.borrow_mut().faults = Faults::default();
        while world.publisher.offset() < MESSAGES {
            let result = world.step(MESSAGES);
            go_on(&mut world, result);
        }
        world.settle().expect("a disk that works");
        for _ in 0..100 {
            world.poll().expect("a disk that works");
        }
        assert_eq!(world.state(), JournalState::Running, "{faults:?}");
        assert_eq!(world.durable_offset(), MESSAGES);
    }
}
