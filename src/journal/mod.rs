//! The journal: the log of a partition on disk. What lies in a file is in `log::segment`, how a
//! journal is laid out in a directory in [`disk`].
//!
//! | file | holds |
//! |---|---|
//! | [`disk`] | what a journal asks of a disk: files, writes, flushes; a real one, and one for tests |
//! | [`tap`] | what the journal takes from the ring, and its cursor |
//! | [`stage`] | which pages of a block are written from where, and its checkpoints |
//! | [`writer`] | what is written when, and what is known to be durable |
//! | [`start`] | going on with a journal, or beginning one |
//! | [`requests`] | what was asked of the disk and is not over |
//! | [`status`] | what a journal says of itself in shared memory |
//! | [`recovery`] | where a journal ends, after whatever happened to it |

mod disk;
mod recovery;
mod requests;
mod stage;
mod start;
mod status;
mod tap;
mod writer;

#[cfg(test)]
mod tests;
