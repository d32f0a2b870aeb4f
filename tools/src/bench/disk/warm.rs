//! How fast a replay is whose files are in the page cache, beside a bare loop over the same bytes in
//! memory: it checks each block's CRC, goes over the same frames and looks at the same words.
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Setup;
use super::format::{BLOCK_BYTES, Walked};
use super::recorded::Recorded;
use super::trial::{Found, Trial};
use crate::bench::goal::WARM_GOALS;
use crate::bench::verdict::Judged;

/// What the figures of a block are.
pub(crate) const WARM_COLUMNS: [&str; 3] = ["x bare", "M messages/s", "MB/s"];

const BARE: usize = 0;

/// All of the journal.
#[derive(Debug, Clone, Copy)]
struct Read {
    messages: u64,
    bytes: u64,
    duration_s: f64,
}

/// Compares.
///
/// # Errors
/// When a contender fails, or the user wants an end.
pub(super) fn run(setup: &Setup, recorded: &Recorded, duration: Duration) -> Result<Found> {
    // This reads the files, too, and so fills the page cache.
    let read = |(path, bytes): (PathBuf, u64)| -> Result<Vec<u8>> {
        let file = fs::read(&path);
        let mut file = file.with_context(|| format!("cannot read {}", path.display()))?;
        file.truncate(bytes as usize);
        Ok(file)
    };
    let files: Vec<Vec<u8>> = recorded.files()?.into_iter().map(read).collect::<Result<_>>()?;
    let trial = Trial {
        title: "replay from the page cache: messages of 48 bytes, a word of each summed up",
        contenders: vec!["bare loop", "replay"],
        columns: &WARM_COLUMNS,
        goals: &WARM_GOALS,
        limited: &["replay"],
        notes: vec![
            format!(
                "{} MiB of log; the bare loop has them in its own memory",
                recorded.bytes >> 20
            ),
            "bare: the CRC of each block, then its frames".to_owned(),
        ],
        fault: "",
    };
    trial.run(
        duration,
        &setup.interrupt,
        |at| {
            let start = Instant::now();
            let walked = if at == BARE { walk(&files)? } else { recorded.replay()? };
            let duration_s = start.elapsed().as_secs_f64();
            recorded.check(walked)?;
            Ok(Read { messages: walked.messages, bytes: recorded.bytes, duration_s })
        },
        judge,
    )
}

fn walk(files: &[Vec<u8>]) -> Result<Walked> {
    let mut walked = Walked::default();
    for file in files {
        for block in file.as_chunks::<BLOCK_BYTES>().0 {
            ensure!(walked.add(block), "a block of the journal is damaged");
        }
    }
    Ok(walked)
}

fn judge(blocks: &[Read]) -> Vec<Judged> {
    let judge = |block: &Read| {
        let Read { messages, bytes, duration_s } = *block;
        Judged {
            valid: true,
            count: messages,
            figures: vec![
                Some(blocks[BARE].duration_s / duration_s),
                Some(messages as f64 / duration_s / 1e6),
                Some(bytes as f64 / duration_s / 1e6),
            ],
        }
    };
    blocks.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_set_against_the_bare_loop() {
        let read = |duration_s| Read { messages: 10, bytes: 640, duration_s };
        let judged = judge(&[read(1.0), read(2.0)]);
        assert_eq!(judged[1].figures, [Some(0.5), Some(5e-6), Some(320e-6)]);
    }
}
