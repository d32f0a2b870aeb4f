//! Going on with a log whose publisher is gone: invariant 8. Whoever calls this holds the
//! publisher's lock, and may itself be killed at any point: every step can be taken again.

use super::block::{BLOCK_HEADER_BYTES, LogId, block_start};
use super::frame::LINE_BYTES;
use super::gate::Gate;
use super::pages;
use super::ring::Ring;
use super::seek;
use super::wake::Wake;
use super::walk::{self, Damaged, Tail};
use super::writer::Writer;
use crate::sync::Ordering;

/// Finds the end of the log, clears what lies behind it, and closes a train that is open there, or
/// leaves that to the writer's next frame.
pub(crate) fn take_over(
    ring: Ring,
    gate: Gate,
    wake: Option<Wake>,
    log_id: LogId,
) -> Result<Writer, Damaged> {
    let reserved = seek::check_reserved(gate.reserved())?;
    let page = gate.pages().publisher.clone();
    let epoch = page.load(pages::publisher::EPOCH, Ordering::Relaxed).checked_add(1);
    let epoch = epoch.ok_or_else(|| Damaged::new(0, "an epoch that no publisher comes to"))?;
    let base = seek::base(&page)?;
    let Some(number) = seek::newest(&ring, base.position, reserved)? else {
        page.store(pages::publisher::EPOCH, epoch, Ordering::Release);
        return Ok(Writer::new(ring, gate, wake, log_id, epoch, base));
    };
    let gone = || Damaged::new(block_start(number), "a block that changes with no publisher");
    let header = ring.header(number).ok_or_else(gone)?;
    let Tail { mut resume, train_open } = walk::tail(&ring, number)?.ok_or_else(gone)?;
    let before = pages::publisher::bytes_before(number);
    let bytes_before = page.load(before, Ordering::Relaxed);
    resume.payload_bytes = resume.payload_bytes.wrapping_add(bytes_before);
    page.store(pages::publisher::EPOCH, epoch, Ordering::Release);

    let position = resume.position;
    let mut writer = Writer::new(ring, gate, wake, log_id, epoch, resume);
    // First the debris, then the abort: a frame behind uncleared lines would make a half-written
    // payload readable.
    writer.clear_debris();
    if train_open {
        let place = block_start(number) + u64::from(header.first_message);
        let end = block_start(number + 1);
        let is_ahead = header.first_message > BLOCK_HEADER_BYTES as u32
            && place.is_multiple_of(LINE_BYTES)
            && place > position
            && place < end;
        writer.abort_train(if is_ahead { place } else { end });
    }
    Ok(writer)
}
