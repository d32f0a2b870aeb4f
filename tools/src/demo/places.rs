//! Where the threads run and how they idle: change here what is done about few cores.

use std::fmt::{self, Display, Formatter};
use std::thread;

use anyhow::{Context, Result};
use tickcast::runtime::IdleStrategy;

use super::THREADS;

/// The cores of the threads: the publisher's first, then those of the subscribers.
pub(super) struct Places {
    /// How many cores this process may use.
    pub(super) cores: usize,
    /// A core for each thread, or none where there are too few.
    own: Option<[usize; THREADS]>,
}

impl Places {
    /// Takes the first cores that this process may use.
    ///
    /// # Errors
    /// When the system does not tell which those are.
    pub(super) fn choose() -> Result<Self> {
        let allowed = core_affinity::get_core_ids().context("cannot ask for the allowed cores")?;
        let allowed: Vec<usize> = allowed.iter().map(|core| core.id).collect();
        let parallel = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self::among(&allowed, parallel))
    }

    /// A container may have time for fewer cores, `parallel`, than it may run on.
    fn among(allowed: &[usize], parallel: usize) -> Self {
        let cores = allowed.len().min(parallel);
        Self { cores, own: (cores >= THREADS).then(|| std::array::from_fn(|at| allowed[at])) }
    }

    /// The core that `thread` has to itself.
    pub(super) fn core(&self, thread: usize) -> Option<usize> {
        self.own.map(|own| own[thread])
    }
}

impl Display for Places {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { cores, own } = self;
        match own {
            Some(own) => write!(out, "{THREADS} on {cores} cores: each spins on its own, {own:?}"),
            None => {
                write!(out, "{THREADS} on {cores} cores: OVERSUBSCRIBED, so all back off and sleep")
            }
        }
    }
}

/// How a thread idles that has `core` to itself, or none.
pub(super) fn strategy(core: Option<usize>) -> IdleStrategy {
    if core.is_some() { IdleStrategy::BusySpin } else { IdleStrategy::back_off() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_a_core_or_none_has() {
        let places = Places::among(&[1, 3, 5, 7, 9, 11, 13], 7);
        let own: Vec<_> = (0..THREADS).map(|thread| places.core(thread)).collect();
        assert_eq!(own, [1, 3, 5, 7, 9, 11].map(Some));
        for (allowed, parallel) in [(&[0, 1, 2, 3, 4][..], 8), (&[0, 1, 2, 3, 4, 5, 6, 7][..], 5)] {
            let places = Places::among(allowed, parallel);
            assert_eq!((places.cores, places.core(0)), (5, None));
            assert!(places.to_string().contains("OVERSUBSCRIBED"), "{places}");
        }
    }

    #[test]
    fn only_who_has_a_core_spins() {
        assert_eq!(strategy(Some(3)), IdleStrategy::BusySpin);
        assert_ne!(strategy(None), IdleStrategy::BusySpin);
    }
}
