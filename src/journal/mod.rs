//! The journal: the log of a partition on disk. What lies in a file is in `log::segment`, how a
//! journal is laid out in a directory in [`disk`].
//!
//! | file | holds |
//! |---|---|
//! | [`disk`] | what a journal asks of a disk: files, writes, flushes; a real one, and one for tests |
//! | [`tap`] | what the journal takes from the ring, and its cursor |
//! | [`stage`] | which pages of a block are written from where, and its checkpoints |
//! | [`writer`] | what is written when, and what is known to be durable |
//! | [`seal`] | closing a journal's last block, for the log to go on in another one |
//! | [`restore`](mod@restore) | where a topic goes on whose ring is made anew |
//! | [`start`] | going on with a journal, or beginning one |
//! | [`recorder`] | what a program holds to journal a topic |
//! | [`topic_dir`] | the directory of a topic's journal |
//! | [`blocks`] | loading and finding blocks, to read them |
//! | [`track`] | one partition's messages out of its files |
//! | [`replay`] | what a program holds to read journals |
//! | [`pace`] | when each message of a replay is due |
//! | [`cursor_file`] | where named subscribers go on |
//! | [`retention`] | removing what need not be kept |
//! | [`truncate`](mod@truncate) | giving up the end of a journal |
//! | [`check`] | going over all blocks, and what can be wrong with one |
//! | [`inspect`] | what a program holds to look at a journal, and the state that it is in |
//! | [`verify`] | what is damaged, and what can still be read |
//! | [`dump`] | blocks and frames as they lie in the files |
//! | [`error`] | what can go wrong |
//! | [`again`] | making durable what is there, before anything is added to it |
//! | [`requests`] | what was asked of the disk and is not over |
//! | [`status`] | what a journal says of itself in shared memory |
//! | [`recovery`] | where a journal ends, after whatever happened to it |
//! | [`remains`] | what could be taken for a part of the log, and is none |

mod again;
mod ahead;
mod blocks;
mod check;
pub(crate) mod cursor_file;
mod disk;
mod dump;
mod error;
mod inspect;
mod pace;
mod recorder;
mod recovery;
mod remains;
mod replay;
mod requests;
mod restore;
mod retention;
mod seal;
mod stage;
mod start;
mod status;
mod tap;
pub(crate) mod topic_dir;
pub(crate) mod track;
mod truncate;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use check::DamageKind;
pub use cursor_file::{CursorError, CursorPosition, NamedCursor, cursors, remove_cursor};
pub use dump::JournalEntry;
pub use error::JournalError;
pub use inspect::{JournalDir, JournalInfo};
pub use pace::Speed;
pub use recorder::{Journal, JournalBuilder};
pub use replay::{Replay, ReplayCounters, ReplayError, Until};
pub(crate) use restore::restore;
pub use retention::{Keep, Pruned, prune};
pub use status::JournalState;
pub(crate) use status::{is_gating, say_closed};
pub(crate) use tap::Place;
pub use truncate::{Truncated, truncate};
pub use verify::{Damage, Verification};
pub use writer::SyncPolicy;

pub use crate::log::frame::Kind as FrameKind;
