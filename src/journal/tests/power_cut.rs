//! The power is cut at every point of a run. What was acknowledged is there, and what is there is a
//! prefix of what was published, also without the segments that the journal let go by then.

use super::world::{POLICIES, World};
use crate::journal::writer::SyncPolicy;

/// Messages of a run: some segments of 4 blocks.
const MESSAGES: u64 = 3_000;

/// Runs until the power goes, or to the end. Returns the world and its steps.
fn run(seed: u64, policy: SyncPolicy, recycles: bool, cut_at: Option<u64>) -> (World, u64) {
    let mut world = World::new(seed, 4, policy);
    world.recycles = recycles;
    world.start().expect("nothing is there yet");
    world.machine.borrow_mut().cut_at = cut_at;
    for _ in 0..1_000_000 {
        if world.machine.borrow().is_off() || world.publisher.offset() == MESSAGES {
            break;
        }
        world.step(MESSAGES).expect("a disk that works");
    }
    if !world.machine.borrow().is_off() {
        world.settle().expect("a disk that works");
    }
    if !world.machine.borrow().is_off() {
        assert_eq!(world.durable_offset(), MESSAGES);
    }
    let steps = world.machine.borrow().steps;
    (world, steps)
}

fn cut_everywhere(seeds: u64, recycles: bool) {
    for policy in POLICIES {
        for seed in 0..seeds {
            let (world, steps) = run(seed, policy, recycles, None);
            world.machine.borrow_mut().cut_power();
            assert_eq!(world.check(), MESSAGES);
            let mut kept = Vec::new();
            for cut_at in 1..steps {
                let (world, _) = run(seed, policy, recycles, Some(cut_at));
                let (acknowledged, told) = (world.durable_offset(), world.told());
                world.machine.borrow_mut().cut_power();
                let there = world.check();
                assert!(there >= acknowledged, "{policy:?} {seed} {cut_at}: {there}");
                world.check_without_what_may_go(told, acknowledged);
                kept.push((acknowledged, there));
            }
            let survived = kept.iter().filter(|(promised, there)| there > promised).count();
            println!("{policy:?}, seed {seed}: {steps} cuts, in {survived} more than promised");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_point() {
    cut_everywhere(3, false);
}

/// What an older segment held is in the new ones, and which names there are is not always durable.
#[test]
fn it_does_where_segments_are_used_again() {
    cut_everywhere(1, true);
}
