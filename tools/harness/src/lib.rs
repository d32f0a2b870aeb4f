//! The latency harness: tickcast, and whoever else takes part, beside the bare cache-line hand-off
//! of the machine.
//!
//! An absolute latency means little on a host that moves its virtual cores about, so all figures
//! are ratios of blocks that ran next to each other. [`transport`] says what a contender is,
//! `ends` in which patterns it is measured, `rounds` how blocks are interleaved.

pub mod answers;
mod bare;
pub mod benchmarks;
pub mod bus;
pub mod catalogue;
mod chapter;
pub mod clock;
mod comparison;
mod contest;
pub mod cores;
mod crowd;
pub mod deliver;
mod ends;
pub mod far_side;
pub mod goal;
mod handoff;
pub mod heading;
mod hgrm;
mod hiccups;
pub mod interrupt;
mod laps;
mod lateness;
mod left_out;
pub mod machine;
pub mod message;
mod offset;
mod options;
mod output;
pub mod page;
pub mod plot;
mod random;
mod report;
mod round_trip;
mod rounds;
mod schedule;
mod session;
pub mod shared;
pub mod spin;
pub mod statistics;
mod step;
mod stream;
mod summary;
pub mod table;
mod task;
pub mod temporary;
mod text;
pub mod transport;
pub mod verdict;

pub use options::{Misused, Options, Takes};
pub use report::{Curve, CurveKind, Report};
pub use step::Times;

use catalogue::Entry;

/// What takes part in every run.
pub const BUILT_IN: [Entry; 2] = [Entry::of::<bus::Tickcast>(), Entry::of::<stream::BareStream>()];
