//! The sequencer's control frame: where every input stood before a batch, and which runs (input,
//! first offset, count) follow, in order.
//!
//! It is all words, 8 bytes, little-endian: magic, number of inputs, id of the inputs, number of
//! runs, the next offset of each input before the batch, three words for each run.

use std::collections::VecDeque;

use crate::bus::fnv::fnv_1a;
use crate::bus::last::last_frame;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::log::last::Found;
use crate::log::reader::Frame;
use crate::log::writer::FRAME_PAYLOAD_BYTES_MAX;

const MAGIC: u64 = u64::from_le_bytes(*b"TICKSEQ\x01");

/// Most inputs: their list, and as many runs, fit into one control frame.
pub(super) const INPUTS_MAX: usize = 1024;

const _: () = assert!(bytes_max(INPUTS_MAX) as u64 <= FRAME_PAYLOAD_BYTES_MAX);

/// Some consecutive offsets of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) input: usize,
    pub(super) first: u64,
    pub(super) count: u64,
}

/// Bytes of a frame with a run of each input: four words, the next offset of each, and three words
/// for a run of each.
pub(super) const fn bytes_max(inputs: usize) -> usize {
    8 * (4 + 4 * inputs)
}

/// Puts a frame in place of what is in `frame`. `next` is what each input's next offset is.
pub(super) fn encode(
    frame: &mut Vec<u8>,
    inputs_id: u64,
    next: impl ExactSizeIterator<Item = u64>,
    runs: &VecDeque<Run>,
) {
    frame.clear();
    let head = [MAGIC, next.len() as u64, inputs_id, runs.len() as u64];
    let runs = runs.iter().flat_map(|run| [run.input as u64, run.first, run.count]);
    for word in head.into_iter().chain(next).chain(runs) {
        frame.extend_from_slice(&word.to_le_bytes());
    }
}

/// What a control frame says.
pub(super) struct State {
    next: Vec<u64>,
    runs: VecDeque<Run>,
}

impl State {
    /// `None` when the frame is none of ours, or names other inputs.
    pub(super) fn decode(payload: &[u8], inputs_id: u64, inputs: usize) -> Option<State> {
        let (words, []) = payload.as_chunks::<8>() else { return None };
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let head = [words.next()?, words.next()?, words.next()?];
        if head != [MAGIC, inputs as u64, inputs_id] {
            return None;
        }
        let runs = words.next()?;
        if words.len() as u64 != (inputs as u64).checked_add(runs.checked_mul(3)?)? {
            return None;
        }
        let next = words.by_ref().take(inputs).collect();
        let mut found = VecDeque::with_capacity(runs as usize);
        while let (Some(input), Some(first), Some(count)) =
            (words.next(), words.next(), words.next())
        {
            let input = usize::try_from(input).ok().filter(|input| *input < inputs)?;
            found.push_back(Run { input, first, count });
        }
        Some(State { next, runs: found })
    }

    /// What is left when `written` offsets stand behind the frame: where each input goes on, and
    /// the rest of the runs. `None` when it cannot be so.
    pub(super) fn after(self, written: u64) -> Option<(Vec<u64>, VecDeque<Run>)> {
        let State { mut next, mut runs } = self;
        let mut left = written;
        let mut rest = VecDeque::new();
        for run in &mut runs {
            // The end, too, must be an offset: nothing below can overflow, here or while the rest
            // is written.
            if run.first != next[run.input] || run.first.checked_add(run.count).is_none() {
                return None;
            }
            let done = left.min(run.count);
            left -= done;
            next[run.input] += done;
            run.first += done;
            run.count -= done;
            if run.count > 0 {
                rest.push_back(*run);
            }
        }
        if left > 0 {
            return None;
        }
        Some((next, rest))
    }
}

/// One number for the inputs' identities and order.
pub(super) fn inputs_id(places: &[(&Topic, u32)]) -> u64 {
    let ids = places.iter().flat_map(|(topic, partition)| {
        topic.descriptor().partition_log_id(*partition).0.map(u64::to_le_bytes)
    });
    fnv_1a(ids.flatten())
}

/// The output's newest control frame, and the offset behind it.
pub(super) fn last_state(output: &Topic) -> Result<Option<(u64, Vec<u8>)>, TopicError> {
    let mut state = Vec::new();
    let found = last_frame(output, 0, |frame| {
        let Frame::Control { payload } = frame else { return false };
        state.clear();
        state.extend_from_slice(payload);
        true
    })?;
    Ok(match found {
        Found::Behind(offset) => Some((offset, state)),
        Found::Never | Found::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_from_what_stands_behind_the_frame() {
        let state = || State { next: vec![7, 20], runs: [run(1, 20, 5), run(0, 7, 2)].into() };
        let left = |written| state().after(written);
        assert_eq!(left(0), Some((vec![7, 20], [run(1, 20, 5), run(0, 7, 2)].into())));
        assert_eq!(left(6), Some((vec![8, 25], [run(0, 8, 1)].into())));
        assert_eq!(left(7), Some((vec![9, 25], VecDeque::new())));
        assert_eq!(left(8), None);
    }

    #[test]
    fn a_run_past_the_last_offset_is_none_of_ours() {
        for (first, count) in [(u64::MAX, 1), (u64::MAX - 5, 9), (1, u64::MAX)] {
            for written in [0, 1, 9, u64::MAX] {
                let state = State { next: vec![first], runs: [run(0, first, count)].into() };
                assert_eq!(state.after(written), None, "{count} from {first}, {written} written");
            }
        }
    }

    fn run(input: usize, first: u64, count: u64) -> Run {
        Run { input, first, count }
    }
}
