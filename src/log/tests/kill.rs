//! Death of a publisher between any two of its stores. [`super::super::memory`] asks here before
//! each store.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Who was killed.
struct Killed;

#[derive(Default)]
struct Fuel {
    /// Stores left; `None`: unlimited.
    left: Option<u64>,
    spent: u64,
    /// Which stores were single ones, not words of a payload.
    single: Option<Vec<u64>>,
}

thread_local! {
    static FUEL: RefCell<Fuel> = RefCell::default();
}

/// One store is about to happen in this thread.
pub(in crate::log) fn spend(bulk: bool) {
    FUEL.with_borrow_mut(|fuel| {
        if fuel.left == Some(fuel.spent) {
            fuel.left = None;
            resume_unwind(Box::new(Killed));
        }
        if let (false, Some(single)) = (bulk, &mut fuel.single) {
            single.push(fuel.spent);
        }
        fuel.spent += 1;
    });
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

/// Runs `act` and tells before which of its stores it is worth to die: before each that is not a
/// word of a payload, before some of those, and never.
pub(super) fn points(act: impl FnOnce()) -> Vec<u64> {
    FUEL.set(Fuel { single: Some(Vec::new()), ..Fuel::default() });
    act();
    let fuel = FUEL.take();
    let mut points = fuel.single.unwrap_or_default();
    // Long rows of zeroes are all alike.
    let (count, mut at) = (points.len(), 0);
    points.retain(|_| {
        at += 1;
        count < 200 || at < 30 || at + 60 > count || at % 25 == 0
    });
    points.extend((0..fuel.spent).step_by(1 + fuel.spent as usize / 40));
    points.extend([fuel.spent.saturating_sub(2), fuel.spent]);
    points.sort_unstable();
    points.dedup();
    points
}
