//! What the demonstration prints in the end: change here how figures are shown.

use std::fmt::{self, Display, Formatter};

use super::latency::Distribution;
use super::player::RATE_PER_S;
use super::received::{Difference, Played};

/// What everybody measured.
pub(super) struct Table {
    /// What was played in a loop.
    pub(super) tape_messages: u64,
    pub(super) subscribers: Vec<Row>,
    /// How late the publisher was in the paced phase.
    pub(super) lateness: Distribution,
    /// Half a round trip of the bare hand-off before and after the phases, or why there is none.
    pub(super) handoffs: [Result<Distribution, String>; 2],
    pub(super) played: Played,
    pub(super) clock_cost_ns: f64,
    pub(super) clock_was_set: bool,
    pub(super) threads: usize,
    pub(super) cores: usize,
}

/// One subscriber.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) messages: u64,
    pub(super) flood_per_s: f64,
    pub(super) latency: Distribution,
    pub(super) differences: Vec<Difference>,
}

impl Table {
    /// How many subscribers did not get what was played.
    pub(super) fn failed(&self) -> usize {
        self.subscribers.iter().filter(|row| !row.differences.is_empty()).count()
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { threads, cores, tape_messages, played, .. } = self;
        let rounds = match played.messages / tape_messages {
            1 => "once".to_owned(),
            rounds => format!("{} times", grouped(rounds)),
        };
        writeln!(out, "played     {} messages, {rounds}\n", grouped(*tape_messages))?;
        let is_oversubscribed = threads > cores;
        if is_oversubscribed {
            writeln!(
                out,
                "OVERSUBSCRIBED: {threads} threads on {cores} cores, so latencies are mostly those \
                 of sleeping and scheduling"
            )?;
        }
        let rate = grouped(RATE_PER_S);
        let label = if is_oversubscribed { " (oversubscribed)" } else { "" };
        let over = format!("one-way latency at {rate} msg/s{label}");
        writeln!(out, "{:<24} {:>12} {:>8}  {over:^41}", "", "", "flood")?;
        write!(out, "{:<24} {:>12} {:>8}", "subscriber", "messages", "M msg/s")?;
        writeln!(out, " {:>10} {:>10} {:>10} {:>10}  verified", "p50", "p99", "p99.9", "max")?;
        for row in &self.subscribers {
            let Row { name, messages, flood_per_s, latency, differences } = row;
            let verified = if differences.is_empty() { "ok" } else { "FAILED" };
            let (messages, flood) = (grouped(*messages), flood_per_s / 1e6);
            write!(out, "{name:<24} {messages:>12} {flood:>8.2}")?;
            percentiles(out, latency)?;
            writeln!(out, "  {verified}")?;
        }
        write!(out, "{:<24} {:>12} {:>8}", "publisher's lateness", "", "")?;
        percentiles(out, &self.lateness)?;
        writeln!(out)?;
        for (handoff, when) in self.handoffs.iter().zip(["before", "after"]) {
            let name = format!("bare hand-off, {when}");
            match handoff {
                Ok(half) => {
                    write!(out, "{name:<24} {:>12} {:>8}", "", "")?;
                    percentiles(out, half)?;
                    writeln!(out)?;
                }
                Err(error) => writeln!(out, "{name:<24} not measured: {error}")?,
            }
        }
        self.notes(out)
    }
}

impl Table {
    fn notes(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "\nlatency    from intended send time to hand-out; {} samples each; the clock's {:.0} ns \
             included\n\
             flood      from the first message sent until the subscriber had the last; all wait \
             for the slowest\n\
             hand-off   half a round trip of one cache line between two cores: the physical limit\n\
             -          withheld: fewer than 10 samples lie beyond it",
            grouped(self.lateness.samples),
            self.clock_cost_ns
        )?;
        if self.clock_was_set {
            writeln!(out, "CLOCK SET  the time of day was set meanwhile: latencies mean nothing")?;
        }
        let Played { messages, checksum } = self.played;
        let (count, messages) = (self.subscribers.len(), grouped(messages));
        if self.failed() == 0 {
            return writeln!(
                out,
                "verified   {count} of {count} subscribers got all {messages} messages, in order; \
                 checksum {checksum:016x}\n           \
                 (over offset, length and bytes of each) equals that of the input"
            );
        }
        for row in &self.subscribers {
            for difference in &row.differences {
                writeln!(out, "FAILED     {}: {difference}", row.name)?;
            }
        }
        Ok(())
    }
}

fn percentiles(out: &mut Formatter<'_>, latency: &Distribution) -> fmt::Result {
    let Distribution { p50_ns, p99_ns, p99_9_ns, max_ns, .. } = *latency;
    for figure_ns in [p50_ns, p99_ns, p99_9_ns] {
        write!(out, " {:>10}", figure_ns.map_or("-".to_owned(), time))?;
    }
    max_ns.map_or(Ok(()), |max_ns| write!(out, " {:>10}", time(max_ns)))
}

/// A time in the unit that leaves one to three digits before the point.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 999.5 => return format!("{ns:.0} ns"),
        ns if ns < 999_500.0 => (ns / 1e3, "us"),
        ns if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands set apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(differences: Vec<Difference>, cores: usize) -> Table {
        let latency = Distribution {
            samples: 5000,
            p50_ns: Some(184.0),
            p99_ns: Some(63_180.0),
            p99_9_ns: None,
            max_ns: Some(999_600_000.0),
        };
        let row = |differences| Row {
            name: "process 4194304".to_owned(),
            messages: 123_456_789,
            flood_per_s: 12_345_678.0,
            latency,
            differences,
        };
        Table {
            tape_messages: 123_456_789,
            subscribers: vec![row(vec![]), row(differences)],
            lateness: latency,
            handoffs: [Ok(latency), Err("its core is busy".to_owned())],
            played: Played { messages: 123_456_789, checksum: 0xABC },
            clock_cost_ns: 21.3,
            clock_was_set: false,
            threads: 6,
            cores,
        }
    }

    #[test]
    fn figures_have_units_and_lines_fit_into_100_columns() {
        let text = table(vec![], 2).to_string();
        for figure in ["123,456,789", "12.35", "184 ns", "63.2 us", "1.00 s", "0000000000000abc"] {
            assert!(text.contains(figure), "{figure} is not in\n{text}");
        }
        assert!(text.contains("2 of 2 subscribers got all"), "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{widest:?} columns:\n{text}");
    }

    #[test]
    fn says_when_threads_outnumber_cores() {
        assert!(table(vec![], 5).to_string().contains("OVERSUBSCRIBED: 6 threads on 5 cores"));
        assert!(!table(vec![], 6).to_string().to_lowercase().contains("oversubscribed"));
    }

    #[test]
    fn a_difference_is_a_failure_and_nothing_is_called_verified() {
        let lost = Difference::Count { played: 2, received: 1 };
        let table = table(vec![lost], 6);
        assert_eq!(table.failed(), 1);
        let text = table.to_string();
        assert!(
            text.contains("FAILED     process 4194304: 1 messages received, 2 played"),
            "{text}"
        );
        assert!(!text.contains("verified   "), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let numbers = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "1,234,567"]);
    }
}
