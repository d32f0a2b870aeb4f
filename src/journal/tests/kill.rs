//! The journal's process is killed at every point of a run, and again and again, while its
//! publisher lives or dies; a successor goes on. Nothing is missed, and nothing is there twice.

use super::world::{POLICIES, World};
use crate::journal::writer::SyncPolicy;

const MESSAGES: u64 = 2_000;

/// Kills of a run at most, so that it comes to an end.
const KILLS_MAX: u64 = 60;

/// Goes on to step `at` of the machine, or until everything is published.
fn go_on(world: &mut World, at: Option<u64>) {
    world.machine.borrow_mut().cut_at = at;
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() >= MESSAGES {
            return;
        }
        world.step(MESSAGES).expect("a disk that works");
    }
    panic!("it does not go on: {:?}", world.journal);
}

/// Goes on to the end, where everything is on disk.
fn finish(world: &mut World) {
    go_on(world, None);
    world.settle().expect("a disk that works");
    assert_eq!(world.durable_offset(), MESSAGES);
    world.close();
    assert_eq!(world.check(), MESSAGES);
    world.assert_never_evicted();
}

#[test]
fn a_successor_goes_on_wherever_a_journal_was_killed() {
    for policy in POLICIES {
        for seed in 0..2 {
            let mut world = World::new(seed, 4, policy);
            world.start().expect("nothing is there yet");
            finish(&mut world);
            let steps = world.machine.borrow().steps;
            for at in 1..steps {
                let mut world = World::new(seed, 4, policy);
                world.start().expect("nothing is there yet");
                go_on(&mut world, Some(at));
                if !world.machine.borrow().is_off() {
                    // While it settles.
                    world.settle().expect("a disk that works");
                }
                world.kill(None);
                finish(&mut world);
            }
        }
    }
}

/// Goes on for at most so many steps, unless it was stopped already. Whether it was not the end.
fn is_stopped(world: &mut World, steps: u64) -> bool {
    let at = world.machine.borrow().cut_at;
    let at = at.unwrap_or_else(|| world.machine.borrow().steps + 1 + world.random.below(steps));
    go_on(world, Some(at));
    world.machine.borrow().is_off()
}

/// Kills the journal again and again. Returns how often.
fn kill_often(world: &mut World, policy: Option<SyncPolicy>) -> u64 {
    world.start().expect("nothing is there yet");
    for kills in 0..KILLS_MAX {
        if !is_stopped(world, 15) {
            return kills;
        }
        world.policy = policy.unwrap_or_else(|| POLICIES[world.random.below(3) as usize]);
        let at = world.machine.borrow().steps + 1 + world.random.below(15);
        world.kill(Some(at));
    }
    if world.journal.is_none() {
        world.kill(None);
    }
    KILLS_MAX
}

#[test]
fn nothing_is_missed_or_there_twice_however_often_journals_are_killed() {
    for policy in POLICIES.map(Some).into_iter().chain([None]) {
        let mut kills = 0;
        let mut seed = 0;
        while kills < 120 {
            let mut world = World::new(seed, 2, policy.unwrap_or_default());
            kills += kill_often(&mut world, policy);
            finish(&mut world);
            seed += 1;
        }
        println!("{policy:?}: {kills} kills in {seed} runs");
    }
}

#[test]
fn a_power_cut_after_kills_loses_nothing_that_was_acknowledged() {
    for policy in POLICIES.map(Some).into_iter().chain([None]) {
        for seed in 0..150 {
            let mut world = World::new(seed, 2, policy.unwrap_or_default());
            world.is_slow = seed % 2 == 0;
            world.start().expect("nothing is there yet");
            for _ in 0..1 + seed % 5 {
                is_stopped(&mut world, 20);
                world.policy = policy.unwrap_or_else(|| POLICIES[world.random.below(3) as usize]);
                let at = world.machine.borrow().steps + 1 + world.random.below(20);
                world.kill(Some(at));
            }
            is_stopped(&mut world, 30);
            let (acknowledged, told) = (world.durable_offset(), world.told());
            world.machine.borrow_mut().cut_power();
            let there = world.check();
            assert!(there >= acknowledged, "{policy:?} {seed}: {there} of {acknowledged}");
            world.check_without_what_may_go(told, acknowledged);
        }
    }
}

#[test]
fn a_journal_goes_on_through_the_deaths_of_publishers() {
    for policy in POLICIES {
        for seed in 0..10 {
            let mut world = World::new(seed, 4, policy);
            world.deaths = 20;
            // And through its own.
            if seed % 2 == 0 {
                world.start().expect("nothing is there yet");
            } else {
                kill_often(&mut world, Some(policy));
            }
            finish(&mut world);
            assert!(world.publisher.epoch() > 20);
        }
    }
}
