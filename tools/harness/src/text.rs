//! A report as text.
use std::fmt::{self, Display, Formatter};

use crate::comparison::Comparison;
use crate::hiccups::HICCUP_NS_MIN;
use crate::offset::Offset;
use crate::report::{Kind, Regime, Report, Section};
use crate::statistics::Spread;
use crate::table::table;

/// Regimes with less than one round in so many are left to the JSON.
const RARE: usize = 20;

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.heading)?;
        let Offset { min_ns, max_ns } = self.offset;
        let is_none = self.offset.is_none(&self.heading.clock);
        let verdict = if is_none { "none is seen" } else { "THEY DISAGREE" };
        writeln!(
            out,
            "the far core's clock is ahead by {min_ns:.0} to {max_ns:.0} ns: {verdict}; a side was \
             put off its core {} times in {} rounds",
            self.heading.preemptions,
            self.rounds.len()
        )?;
        for how in &self.how {
            writeln!(out, "- {}: {}", how.name, how.how)?;
        }
        self.left_out.iter().try_for_each(|why| writeln!(out, "- {why}"))?;
        let shown = |regime: &&Regime| regime.rounds * RARE >= self.rounds.len();
        for regime in self.regimes.iter().filter(shown) {
            self.regime(out, regime)?;
        }
        let hidden: usize =
            self.regimes.iter().filter(|regime| !shown(regime)).map(|regime| regime.rounds).sum();
        if hidden > 0 {
            writeln!(out, "\n{hidden} rounds in rare states of the host are in the JSON only")?;
        }
        if self.blocks_unsettled > 0 {
            let (count, all) = (self.blocks_unsettled, self.rounds.len() * self.steps.len());
            writeln!(out, "\n{count} of {all} blocks left out: the host was at work around them")?;
        }
        if let Some(comparison) = Comparison::of(self) {
            writeln!(
                out,
                "\nall beside each other, in the state of the host with the most rounds; tickcast: by \
                 how many times it is better [quartiles]\n"
            )?;
            writeln!(out, "{comparison}")?;
            self.summary.goals.iter().try_for_each(|outcome| writeln!(out, "{outcome}"))?;
        }
        for why in &self.summary.invalid_because {
            writeln!(out, "\nINVALID: {why}")?;
        }
        writeln!(
            out,
            "\nmedians over blocks, ratios with [quartiles]: to the bare hand-offs before and after \
             the block,\nto what others did in the same round; p99.99 over all blocks\nleft out: \
             the hand-offs before and after differ by over 10 %; without a ratio: the block beats \
             them by over 3 %\n-: withheld, fewer than 10 samples lie beyond it"
        )
    }
}

impl Report {
    fn regime(&self, out: &mut Formatter<'_>, regime: &Regime) -> fmt::Result {
        let Some(Spread { median, min, max, .. }) = regime.handoff_ns.p50 else { return Ok(()) };
        writeln!(
            out,
            "\n{} rounds in which the bare hand-off took {median:.1} ns at the median ({min:.1} to \
             {max:.1})",
            regime.rounds
        )?;
        for (side, hiccups) in ["near", "far"].iter().zip(&regime.hiccups) {
            writeln!(
                out,
                "the {side} core was kept from us {} times for over {HICCUP_NS_MIN} ns in {} ms, \
                 {:.3} % of the time, for {} us at most",
                hiccups.gaps.len(),
                hiccups.watched_ns / 1_000_000,
                hiccups.share() * 100.0,
                hiccups.gaps.max_ns() / 1_000
            )?;
        }
        for Section { kind, columns, rows, goals } in &regime.sections {
            writeln!(out, "\n{}", kind.title())?;
            table(out, columns, rows, "were left out")?;
            if *kind == Kind::OpenLoop {
                writeln!(
                    out,
                    "one way: p50 / bare is to half of the bare hand-off; +- {:.0} ns, which is how \
                     well the offset of the clocks is known",
                    self.offset.uncertainty_ns()
                )?;
            }
            goals.iter().try_for_each(|outcome| writeln!(out, "{outcome}"))?;
        }
        Ok(())
    }
}
