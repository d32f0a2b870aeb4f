//! Blocks are judged against their yardstick, and summed up into rows.
use serde::Serialize;

use crate::statistics::Spread;

/// One block, judged: its figures in the order of the table's columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Whether it counts.
    pub valid: bool,
    /// Round trips or messages.
    pub count: u64,
    /// Nothing where a percentile was withheld.
    pub figures: Vec<Option<f64>>,
}

/// What one contender showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The contender.
    pub name: String,
    /// Blocks that count.
    pub blocks_valid: usize,
    /// Blocks that do not.
    pub blocks_invalid: usize,
    /// Round trips or messages in the valid blocks.
    pub count: u64,
    /// The spread of each column over the valid blocks that have it.
    pub figures: Vec<Option<Spread>>,
}

/// Sums up what each contender showed in `rounds`, which are in the order of `names`.
pub fn rows(rounds: &[&[Judged]], names: &[&str], columns: usize) -> Vec<Row> {
    let of = |at: usize| rounds.iter().map(|round| &round[at]).collect::<Vec<_>>();
    names.iter().enumerate().map(|(at, name)| row(name, &of(at), columns)).collect()
}

/// Sums up blocks of one contender.
pub(crate) fn row(name: &str, blocks: &[&Judged], columns: usize) -> Row {
    let valid: Vec<&Judged> = blocks.iter().copied().filter(|block| block.valid).collect();
    let figure = |column: usize| {
        Spread::of(valid.iter().filter_map(|block| block.figures[column]).collect())
    };
    Row {
        name: name.to_owned(),
        blocks_valid: valid.len(),
        blocks_invalid: blocks.len() - valid.len(),
        count: valid.iter().map(|block| block.count).sum(),
        figures: (0..columns).map(figure).collect(),
    }
}

/// How one contender stands to another, by the ratio of their figures in the same rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Better by more than the spread between blocks.
    Ahead,
    /// The difference is within the spread between blocks.
    Equal,
    /// Worse by more than the spread between blocks.
    Behind,
    /// Too few blocks to tell.
    TooFew,
}

/// Fewer blocks do not tell who is ahead.
pub(crate) const BLOCKS_MIN: usize = 5;

impl Standing {
    /// By how many times better one was than the other, block by block: ahead where the middle half
    /// of the blocks lies above 1, behind where it lies below.
    pub fn of(times_better: &Spread) -> Self {
        if times_better.blocks < BLOCKS_MIN {
            Self::TooFew
        } else if times_better.first_quartile > 1.0 {
            Self::Ahead
        } else if times_better.third_quartile < 1.0 {
            Self::Behind
        } else {
            Self::Equal
        }
    }

    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Equal => "equal",
            Self::Behind => "behind",
            Self::TooFew => "(few)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_what_they_leave_out() {
        let judged = |figure, valid| vec![Judged { valid, count: 10, figures: vec![figure] }];
        let blocks = [
            judged(Some(1.0), true),
            judged(Some(2.0), true),
            judged(Some(0.5), false),
            judged(None, true),
        ];
        let rounds: Vec<&[Judged]> = blocks.iter().map(|block| &block[..]).collect();
        let rows = rows(&rounds, &["one"], 1);
        assert_eq!((rows[0].blocks_valid, rows[0].blocks_invalid, rows[0].count), (3, 1, 30));
        assert_eq!(rows[0].figures[0].unwrap().median, 1.5);
    }

    #[test]
    fn ahead_is_by_more_than_the_spread() {
        let standing = |values: [f64; 5]| Standing::of(&Spread::of(values.to_vec()).unwrap());
        assert_eq!(standing([1.1, 1.2, 1.3, 1.4, 1.5]), Standing::Ahead);
        assert_eq!(standing([0.9, 1.2, 0.9, 1.4, 1.0]), Standing::Equal);
        assert_eq!(standing([0.9, 0.8, 0.7, 0.95, 0.9]), Standing::Behind);
        let few = Spread::of(vec![2.0; 4]).unwrap();
        assert_eq!(Standing::of(&few), Standing::TooFew);
    }
}
