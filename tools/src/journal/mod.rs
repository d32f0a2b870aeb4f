//! `tickcast journal`: looks at journals, and cuts them at either end. Each subcommand has its own
//! file.

pub(crate) mod dump;
pub(crate) mod info;
pub(crate) mod prune;
pub(crate) mod truncate;
pub(crate) mod verify;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tickcast::{JournalDir, JournalError};

/// Which partitions to look at.
#[derive(Debug, clap::Args)]
struct Which {
    /// The journal of a topic, or a directory of journals
    #[arg(value_name = "D[/TOPIC]")]
    path: PathBuf,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
}

/// Which journals to look at, and how to show them.
#[derive(Debug, clap::Args)]
pub(crate) struct Look {
    #[command(flatten)]
    which: Which,
    /// One JSON object a line: a partition
    #[arg(long)]
    json: bool,
}

/// The journals of topics that `path` names: one, or all in it.
fn paths(path: &Path) -> Result<Vec<PathBuf>> {
    match JournalDir::open(path) {
        Err(error @ JournalError::Absent { .. }) => match JournalDir::list(path) {
            Ok(paths) if !paths.is_empty() => Ok(paths),
            _ => Err(error.into()),
        },
        // Whatever is wrong with it is told when it is looked at.
        _ => Ok(vec![path.to_owned()]),
    }
}

/// Opens the journal of a topic.
fn open(path: &Path) -> Result<JournalDir> {
    JournalDir::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The partitions to look at: the one that is wanted, or all. Whether there is such a one is for
/// the library to say.
fn partitions(journal: &JournalDir, wanted: Option<u32>) -> Range<u32> {
    wanted.map_or(0..journal.partitions(), |partition| partition..partition.saturating_add(1))
}
