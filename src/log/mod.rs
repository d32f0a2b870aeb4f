//! The log: frames in blocks, blocks in a ring; one writer, many readers. The format is in `frame`
//! and `block`, everything that two processes agree on beside it in `pages`.
//!
//! Synchronisation edges, each named at both ends in the code:
//!
//! | edge | release | acquire |
//! |---|---|---|
//! | `commit` | [`writer`]: the store of a commit word | [`source`], [`copy`], [`walk`]: its load |
//! | `entry` | [`ring`] `enter`: the store of a block's number | [`reader`] `enter`, [`ring`] `header` |
//! | `overrun` | [`ring`] `enter`: the fence behind the zeroed number | [`ring`] `still`: the fence before the number is read again |
//! | `eviction` | [`gate`] `disregard`: the mark, before the number is zeroed | [`seat`] `is_evicted` |
//! | `join` | [`gate`] `reserve` and [`seat`] `join`: a sequentially consistent fence each | the same |
//! | `leave` | [`seat`] `store`, `leave`: the cursor, the membership | [`gate`] `reserve`, `scan` |
//! | `wake` | [`wake`] `notify`: the sleeper's barrier stands in for a fence | [`wake`] `prepare` |

pub(crate) mod block;
pub(crate) mod copy;
pub(crate) mod frame;
pub(crate) mod gate;
pub(crate) mod lane;
pub(crate) mod last;
pub(crate) mod memory;
pub(crate) mod pages;
pub(crate) mod reader;
pub(crate) mod ring;
pub(crate) mod seat;
pub(crate) mod seek;
#[cfg(not(loom))]
pub(crate) mod segment;
mod source;
mod store;
pub(crate) mod takeover;
#[cfg(all(test, not(loom)))]
mod tests;
mod train;
pub(crate) mod wake;
pub(crate) mod walk;
pub(crate) mod writer;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
use models::kill;
#[cfg(all(test, not(loom)))]
pub(crate) use tests::kill;
