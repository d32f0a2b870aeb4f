//! Blocks are interleaved here: each round measures the bare hand-off, every contender once, and
//! the hand-off again, so that whatever the host does in between, it does to all alike.
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::block::{Clock, Latency, RoundTripper};
use super::statistics::same_regime;
use crate::interrupt::Interrupt;

/// One round; `B` is what a block of a contender yields.
#[derive(Debug, Serialize)]
pub(crate) struct Round<B> {
    /// The bare hand-off before the contenders: the faster of its variants.
    pub(crate) opening: Latency,
    /// Its median in ns.
    pub(crate) handoff_ns: f64,
    /// One block for each contender, in the order of the line-up.
    pub(crate) blocks: Vec<B>,
    /// The same variant of the hand-off after the contenders: how well the yardstick repeats.
    pub(crate) closing: Latency,
}

impl<B> Round<B> {
    /// Whether the host stayed in one regime throughout.
    pub(crate) fn settled(&self) -> bool {
        self.closing.p50_ns.is_some_and(|closing_ns| same_regime(self.handoff_ns, closing_ns))
    }
}

/// The bare hand-off in its variants, and how it is timed.
pub(crate) struct Yardstick<'a> {
    pub(crate) variants: Vec<RoundTripper<'a>>,
    pub(crate) samples: u64,
    pub(crate) clock: Clock,
}

impl Yardstick<'_> {
    /// Measures every variant; tells the fastest, its index, and its median.
    fn open(&mut self) -> Result<Option<(usize, Latency, f64)>> {
        let mut best: Option<(usize, Latency, f64)> = None;
        for (at, variant) in self.variants.iter_mut().enumerate() {
            let latency = variant.block(self.samples, &self.clock)?;
            let Some(p50_ns) = latency.p50_ns else { continue };
            if best.is_none_or(|(_, _, best_ns)| p50_ns < best_ns) {
                best = Some((at, latency, p50_ns));
            }
        }
        Ok(best)
    }
}

/// Runs rounds for `duration` after a first one that only warms up. `block` measures contender
/// number 0 to `contenders`; each round begins with another of them.
///
/// # Errors
/// When a block fails, or the user wants an end.
pub(crate) fn interleave<B>(
    duration: Duration,
    interrupt: &Interrupt,
    yardstick: &mut Yardstick<'_>,
    contenders: usize,
    mut block: impl FnMut(usize) -> Result<B>,
) -> Result<Vec<Round<B>>> {
    let mut rounds = Vec::new();
    let mut start = None;
    for first in 0.. {
        interrupt.check()?;
        let Some((variant, opening, handoff_ns)) = yardstick.open()? else { break };
        let mut blocks: Vec<Option<B>> = (0..contenders).map(|_| None).collect();
        for at in (0..contenders).map(|next| (first + next) % contenders) {
            interrupt.check()?;
            blocks[at] = Some(block(at)?);
        }
        let closing = yardstick.variants[variant].block(yardstick.samples, &yardstick.clock)?;
        let blocks = blocks.into_iter().flatten().collect();
        match start {
            None => start = Some(Instant::now()),
            Some(start) => {
                rounds.push(Round { opening, handoff_ns, blocks, closing });
                if start.elapsed() >= duration {
                    break;
                }
            }
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(opening_ns: f64, closing_ns: f64) -> Round<()> {
        let latency =
            |p50_ns| Latency { samples: 100, p50_ns: Some(p50_ns), p99_ns: None, p99_9_ns: None };
        Round {
            opening: latency(opening_ns),
            handoff_ns: opening_ns,
            blocks: vec![],
            closing: latency(closing_ns),
        }
    }

    #[test]
    fn a_round_across_two_regimes_is_not_settled() {
        assert!(round(100.0, 149.0).settled());
        assert!(round(149.0, 100.0).settled());
        assert!(!round(100.0, 490.0).settled());
        assert!(!round(490.0, 100.0).settled());
    }
}
