//! The power goes once more, or the process is killed, at every step of going on after a power cut
//! or a kill. What either journal acknowledged is there, and what is there is a prefix of what was
//! published.

use super::world::{POLICIES, World};
use crate::journal::recovery::RecoveryError;
use crate::journal::start::StartError;
use crate::journal::writer::SyncPolicy;

const MESSAGES: u64 = 1_000;

/// Steps of the machine that the second journal goes on behind its start.
const STEPS_BEHIND: u64 = 12;

/// What happens to a journal.
#[derive(Debug, Clone, Copy)]
enum End {
    PowerCut,
    /// Its process is killed, and its ring removed.
    Kill,
}

fn end(world: &mut World, how: End) {
    let mut machine = world.machine.borrow_mut();
    match how {
        End::PowerCut => machine.cut_power(),
        End::Kill => machine.kill(),
    }
}

/// Goes on until the machine stops, or everything is published.
fn go_on(world: &mut World) {
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() >= MESSAGES {
            return;
        }
        world.step(MESSAGES).expect("a disk that works");
    }
    panic!("it does not go on: {:?}", world.journal);
}

/// A journal that comes to its end at step `at`, if it has so many.
fn first(seed: u64, policy: SyncPolicy, at: u64, how: End) -> World {
    let mut world = World::new(seed, 2, policy);
    world.is_slow = seed.is_multiple_of(2);
    world.recycles = seed.is_multiple_of(3);
    world.start().expect("nothing is there yet");
    world.machine.borrow_mut().cut_at = Some(at);
    go_on(&mut world);
    end(&mut world, how);
    world
}

/// Begins anew, until step `at` of that. Returns whether the start came to its end.
fn begin_anew(world: &mut World, at: u64) -> bool {
    let at = world.machine.borrow().steps + at;
    world.machine.borrow_mut().cut_at = Some(at);
    match world.begin_anew() {
        Ok(()) => true,
        Err(StartError::Recovery(RecoveryError::Io { .. })) if world.machine.borrow().is_off() => {
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// How many steps the start takes of a journal that comes after this one.
fn steps_of_start(mut world: World) -> u64 {
    let before = world.machine.borrow().steps;
    world.begin_anew().expect("a disk that works");
    let steps = world.machine.borrow().steps;
    steps - before
}

/// A journal comes to its end at some of its steps, and the next one at each of its start.
fn end_twice(seed: u64, policy: SyncPolicy, hows: [End; 2]) {
    let steps = first(seed, policy, u64::MAX, End::Kill).machine.borrow().steps;
    let mut seconds = 0;
    for at in (1..steps).step_by(1 + steps as usize / 10) {
        let start = steps_of_start(first(seed, policy, at, hows[0]));
        for second in 1..start + STEPS_BEHIND {
            let mut world = first(seed, policy, at, hows[0]);
            if begin_anew(&mut world, second) {
                go_on(&mut world);
            }
            let (acknowledged, told) = (world.acknowledged(), world.told());
            end(&mut world, hows[1]);
            let what = format!("{hows:?}, {policy:?}, {seed}, {at}, {second}");
            let there = world.check();
            assert!(there >= acknowledged, "{what}: {there} of {acknowledged}");
            world.check_without_what_may_go(told, acknowledged);
            world.begin_anew().expect("a disk that works");
            world.close();
            let there = world.check();
            assert!(there >= acknowledged, "{what}, anew: {there} of {acknowledged}");
            seconds += 1;
        }
    }
    println!("{hows:?}, {policy:?}, seed {seed}: {seconds} journals came to their end twice");
}

fn end_twice_everywhere(hows: [End; 2]) {
    for policy in POLICIES {
        for seed in 0..2 {
            end_twice(seed, policy, hows);
        }
    }
}

#[test]
fn a_power_cut_while_a_journal_begins_behind_another_one_loses_nothing() {
    end_twice_everywhere([End::PowerCut, End::PowerCut]);
}

#[test]
fn a_kill_while_a_journal_begins_behind_a_power_cut_loses_nothing() {
    end_twice_everywhere([End::PowerCut, End::Kill]);
}

#[test]
fn a_power_cut_while_a_journal_begins_behind_a_kill_loses_nothing() {
    end_twice_everywhere([End::Kill, End::PowerCut]);
}
