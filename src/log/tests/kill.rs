//! Death of a publisher between any two of its stores. [`super::super::memory`] asks here before
//! each store, and [`super::super::store`] for the words of a payload.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::sync::Ordering;

/// Who was killed.
struct Killed;

#[derive(Default)]
struct Fuel {
    /// Stores left; `None`: unlimited.
    left: Option<u64>,
    spent: u64,
    /// What was spent, where that is asked for.
    stores: Option<Stores>,
}

impl Fuel {
    /// How many of `count` stores come before death.
    fn take(&mut self, count: u64) -> u64 {
        let taken = self.left.map_or(count, |left| count.min(left - self.spent));
        self.spent += taken;
        taken
    }
}

thread_local! {
    static FUEL: RefCell<Fuel> = RefCell::default();
}

fn die() -> ! {
    FUEL.with_borrow_mut(|fuel| fuel.left = None);
    resume_unwind(Box::new(Killed));
}

/// One store of a single word is about to happen in this thread.
pub(in crate::log) fn before_store(ordering: Ordering) {
    let lives = FUEL.with_borrow_mut(|fuel| {
        if let Some(stores) = &mut fuel.stores {
            stores.single.push(fuel.spent);
            if ordering == Ordering::Release {
                stores.commit = fuel.spent;
            }
        }
        fuel.take(1) == 1
    });
    if !lives {
        die();
    }
}

/// `count` words of a payload are about to be stored in this thread, however that is done: `store`
/// stores as many of them as come before death.
pub(in crate::log) fn store_payload(count: usize, store: impl FnOnce(usize)) {
    let taken = FUEL.with_borrow_mut(|fuel| fuel.take(count as u64)) as usize;
    store(taken);
    if taken < count {
        die();
    }
}

/// Runs `act` for `stores` stores at most. `None` when it was killed.
pub(crate) fn after<T>(stores: u64, act: impl FnOnce() -> T) -> Option<T> {
    FUEL.set(Fuel { left: Some(stores), ..Fuel::default() });
    let result = catch_unwind(AssertUnwindSafe(act));
    FUEL.set(Fuel::default());
    match result {
        Ok(value) => Some(value),
        Err(panic) if panic.is::<Killed>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// The stores of something that was done, by their numbers from 0 on.
#[derive(Default)]
pub(crate) struct Stores {
    /// How many there were.
    count: u64,
    /// Those that are not words of a payload.
    single: Vec<u64>,
    /// The last one with release. Where something is published, that is its commit: who dies
    /// after more stores than this has published, and nobody else has.
    pub(crate) commit: u64,
}

/// Runs `act` and tells what it stored.
pub(crate) fn stores(act: impl FnOnce()) -> Stores {
    FUEL.set(Fuel { stores: Some(Stores::default()), ..Fuel::default() });
    act();
    let fuel = FUEL.take();
    Stores { count: fuel.spent, ..fuel.stores.unwrap_or_default() }
}

impl Stores {
    /// Before which of them it is worth to die: before each that is not a word of a payload, before
    /// and behind the commit, before some of those, and never.
    pub(crate) fn points(&self) -> Vec<u64> {
        let mut points = self.single.clone();
        // Long rows of zeroes are all alike.
        let (count, mut at) = (points.len(), 0);
        points.retain(|_| {
            at += 1;
            count < 200 || at < 30 || at + 60 > count || at % 25 == 0
        });
        points.extend((0..self.count).step_by(1 + self.count as usize / 40));
        points.extend([self.commit, self.commit + 1]);
        points.extend([self.count.saturating_sub(2), self.count]);
        points.sort_unstable();
        points.dedup();
        points
    }
}
