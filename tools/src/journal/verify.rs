//! `tickcast journal verify`: reads journals from end to end, and names what is damaged.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use indicatif::HumanCount;
use serde_json::{Value, json};
use tickcast::{Damage, JournalDir, Verification};

use super::{Look, open, partitions, paths};
use crate::output::{chain, say, stdout, tell, unless_abandoned};
use crate::{progress, size};

pub(crate) const AFTER_HELP: &str = "\
Exit code 1: something that was on disk cannot be read any more. What a power
cut took that was never known to be durable is told, and is no damage.

Example:
  tickcast journal verify /var/lib/md";

/// Bytes of a block, which the progress is counted in.
const BLOCK_BYTES: u64 = 64 << 10;

/// Reads everything.
///
/// # Errors
/// When something is damaged, after reading the rest.
pub(crate) fn run(options: &Look) -> Result<()> {
    let (mut damaged_blocks, mut unreadable) = (0, 0);
    for path in paths(&options.which.path)? {
        match verify(&path, options) {
            Ok(damaged) => damaged_blocks += damaged,
            Err(error) => {
                tell(&chain(&error));
                unreadable += 1;
            }
        }
    }
    ensure!(unreadable == 0, "{unreadable} of the journals could not be verified: see above");
    let blocks = if damaged_blocks == 1 { "block is" } else { "blocks are" };
    ensure!(damaged_blocks == 0, "{damaged_blocks} {blocks} damaged");
    Ok(())
}

/// Reads the journal of a topic. Returns how many blocks are damaged.
fn verify(path: &Path, options: &Look) -> Result<u64> {
    let journal = open(path)?;
    let mut damaged_blocks = 0;
    for partition in partitions(&journal, options.which.partition) {
        let name = format!("{}/{partition}", path.display());
        let bar = progress::bar(name.clone());
        let found = journal.verify(partition, |done, blocks| {
            bar.set_length(blocks * BLOCK_BYTES);
            bar.set_position(done * BLOCK_BYTES);
        });
        bar.finish_and_clear();
        let found = found.with_context(|| format!("cannot verify {name}"))?;
        unless_abandoned(if options.json {
            print_json(&journal, partition, &found)
        } else {
            print_text(&name, &found)
        })?;
        damaged_blocks += found.damaged_blocks;
    }
    Ok(damaged_blocks)
}

fn print_json(journal: &JournalDir, partition: u32, found: &Verification) -> io::Result<()> {
    let line = json!({
        "journal": journal.path().display().to_string(),
        "partition": partition,
        "blocks": found.blocks,
        "damaged_blocks": found.damaged_blocks,
        "damages": found.damages.iter().map(damage_json).collect::<Vec<_>>(),
        "messages": found.messages,
        "missed": found.missed,
        "log_bytes": found.log_bytes,
        "next_offset": found.next_offset,
        "position": found.position,
        "durable_position": found.durable_position,
        "cut": found.cut.as_ref().map(damage_json),
        "is_being_written": found.is_being_written,
    });
    say(&line.to_string())
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "block": damage.block,
        "blocks": damage.blocks,
        "position": damage.position,
        "segment": damage.segment.as_ref().map(|path| path.display().to_string()),
        "segment_byte": damage.segment_byte,
        "kind": damage.kind.to_string(),
        "lost_from": damage.lost_from,
        "lost_end": damage.lost_end,
    })
}

fn print_text(name: &str, found: &Verification) -> io::Result<()> {
    let mut out = stdout();
    let Verification { blocks, damaged_blocks, missed, next_offset, .. } = *found;
    let (messages, bytes) = (HumanCount(found.messages), size::show(found.log_bytes));
    match damaged_blocks {
        0 => writeln!(out, "{name}: sound: {blocks} blocks, {messages} messages, {bytes} of log")?,
        _ => writeln!(
            out,
            "{name}: damaged: {damaged_blocks} of {blocks} blocks; {messages} messages, {bytes} of \
             log, can be read"
        )?,
    }
    for damage in &found.damages {
        print_damage(&mut out, damage)?;
    }
    let told: u64 = found.damages.iter().map(|damage| damage.blocks).sum();
    if told < damaged_blocks {
        writeln!(out, "  and {} blocks more", damaged_blocks - told)?;
    }
    if missed > 0 {
        writeln!(out, "  {missed} messages were never recorded: the ring went past them")?;
    }
    if let Some(Damage { block, position, kind, .. }) = &found.cut {
        writeln!(
            out,
            "  cut at message {next_offset}: block {block}, position {position}: {kind}\n    what \
             follows was never known to be durable; the next record cuts it away"
        )?;
    }
    if found.is_being_written {
        writeln!(out, "  being written: what is under way was not read")?;
    }
    out.flush()
}

fn print_damage(out: &mut impl Write, damage: &Damage) -> io::Result<()> {
    let Damage { block, blocks, position, kind, .. } = damage;
    match blocks {
        1 => writeln!(out, "  block {block}, position {position}: {kind}")?,
        _ => {
            let last = block + blocks - 1;
            writeln!(out, "  blocks {block} to {last}, position {position}: {kind}")?;
        }
    }
    match &damage.segment {
        Some(path) => writeln!(out, "    byte {} of {}", damage.segment_byte, path.display())?,
        None => writeln!(out, "    no file has room for it")?,
    }
    match (damage.lost_from, damage.lost_end) {
        (Some(from), Some(end)) if from == end => writeln!(out, "    no message is lost"),
        (Some(from), Some(end)) if from + 1 == end => writeln!(out, "    message {from} is lost"),
        (Some(from), Some(end)) => writeln!(out, "    messages {from} to {} are lost", end - 1),
        (Some(from), None) => writeln!(out, "    messages from {from} on are lost"),
        (None, Some(end)) => writeln!(out, "    messages before {end} are lost"),
        (None, None) => writeln!(out, "    which messages are lost is unknown"),
    }
}
