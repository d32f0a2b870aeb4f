//! The log against models of it: what it promises, one file a subject. Nothing here looks at a
//! private field; the tests see what a process sees that maps the same memory.

mod conformance;
mod frames;
mod gating;
mod harness;
mod hostile;
pub(crate) mod kill;
mod model;
mod overrun;
mod reading;
mod seeking;
mod takeover;
mod trains;
