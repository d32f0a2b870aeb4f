//! Round trips one by one: the same loop, clock and statistic for the bare hand-off and everybody
//! else.
use std::hint::black_box;

use anyhow::Result;

use crate::clock::Clock;
use crate::laps::Laps;
use crate::random::Random;
use crate::statistics::Samples;

/// Round trips before the clock starts, in each block: the contender before left its own lines and
/// branches in the caches.
pub(crate) const WARM_UP: u64 = 200;

/// Steps of some cycles each, of which a random number is between two round trips: up to some 300
/// ns.
///
/// Where one follows the other at once, or after a constant time, the polls of both sides fall into
/// step, and processors learn after how many of them the answer comes: the same two words take 90
/// or 150 ns then, by what else is in the loop. Those who wait for a tick know as little as this.
const THINK_STEPS: u64 = 200;

/// The near half of a round trip.
pub(crate) trait RoundTrip {
    /// Sends one message and waits for its answer, with a `GAP` after each poll that found
    /// none.
    ///
    /// # Errors
    /// When no answer comes.
    fn round_trip<const GAP: u32>(&mut self) -> Result<()>;

    /// Times `count` round trips one by one, random times apart, after [`WARM_UP`] that are not
    /// timed. Provided, so that it is the same loop for every contender, and compiled for each.
    ///
    /// # Errors
    /// When no answer comes.
    #[inline(never)]
    fn time<const GAP: u32>(
        &mut self,
        count: u64,
        clock: &Clock,
        laps: &mut Laps,
    ) -> Result<Samples> {
        laps.begin(count);
        for _ in 0..WARM_UP {
            self.round_trip::<GAP>()?;
        }
        let mut random = Random::new(count);
        for _ in 0..count {
            (0..random.below(THINK_STEPS)).for_each(|step| _ = black_box(step));
            let start = clock.now();
            self.round_trip::<GAP>()?;
            laps.push(clock.now() - start);
        }
        Ok(laps.samples(clock))
    }
}
