//! How fast a replay is whose files are in the page cache, beside a bare loop over the same bytes
//! in memory: it checks each block's CRC, goes over the same frames and looks at the same words.
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Setup;
use super::format::{BLOCK_BYTES, Walked};
use super::goals::{WARM_GOALS, for_ticks};
use super::recorded::Recorded;
use super::trial::{Found, Trial};
use tickcast_harness::verdict::Judged;

/// What the figures of a block are.
pub(crate) const WARM_COLUMNS: [&str; 3] = ["x bare", "M messages/s", "MB/s"];

/// Who takes part.
const CONTENDERS: [&str; 3] = ["bare loop", "bare loop, from files", "replay"];
const BARE: usize = 0;
const BARE_FROM_FILES: usize = 1;

/// Bytes that the bare loop reads from a file at once: they stay in the cache until they are walked
/// over.
const READ_BYTES: usize = 256 << 10;

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
    let paths = recorded.files()?;
    // This fills the page cache, too.
    let read = |(path, bytes): &(PathBuf, u64)| -> Result<Vec<u8>> {
        let file = fs::read(path);
        let mut file = file.with_context(|| format!("cannot read {}", path.display()))?;
        file.truncate(*bytes as usize);
        Ok(file)
    };
    let files: Vec<Vec<u8>> = paths.iter().map(read).collect::<Result<_>>()?;
    let trial = Trial {
        title: "replay from the page cache: a word of each message summed up",
        contenders: CONTENDERS.map(str::to_owned).to_vec(),
        columns: &WARM_COLUMNS,
        drawn: "MB/s",
        goals: for_ticks(recorded.payload, &WARM_GOALS),
        limited: &["replay"],
        notes: vec![
            format!(
                "{} MiB of log in messages of {}; the bare loop has them in its own memory",
                recorded.bytes >> 20,
                recorded.payload
            ),
            "bare: the CRC of each block, then its frames".to_owned(),
            "from files: the same, but the kernel copies them from its page cache first".to_owned(),
        ],
        fault: "",
    };
    trial.run(
        duration,
        &setup.interrupt,
        |at| {
            let start = Instant::now();
            let walked = match at {
                BARE => walk(&files)?,
                BARE_FROM_FILES => walk_from_files(&paths)?,
                _ => recorded.replay()?,
            };
            let duration_s = start.elapsed().as_secs_f64();
            recorded.check(walked)?;
            Ok(Read { messages: walked.messages, bytes: recorded.bytes, duration_s })
        },
        judge,
    )
}

fn walk(files: &[Vec<u8>]) -> Result<Walked> {
    let mut walked = Walked::default();
    files.iter().try_for_each(|file| add(file, &mut walked))?;
    Ok(walked)
}

fn walk_from_files(paths: &[(PathBuf, u64)]) -> Result<Walked> {
    let mut walked = Walked::default();
    let mut buffer = vec![0; READ_BYTES];
    for (path, bytes) in paths {
        let read = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(read)?;
        for at in (0..*bytes).step_by(READ_BYTES) {
            let part = &mut buffer[..READ_BYTES.min((bytes - at) as usize)];
            file.read_exact_at(part, at).with_context(read)?;
            add(part, &mut walked)?;
        }
    }
    Ok(walked)
}

fn add(bytes: &[u8], walked: &mut Walked) -> Result<()> {
    for block in bytes.as_chunks::<BLOCK_BYTES>().0 {
        ensure!(walked.add(block), "a block of the journal is damaged");
    }
    Ok(())
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
