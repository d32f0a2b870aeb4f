//! `tickcast bench`: what is beside the harness's benchmarks, those of the journal, and all in one.
mod all;
mod disk;

pub(crate) use all::all;
pub(crate) use disk::{JOURNAL, REPLAY, journal, replay};
