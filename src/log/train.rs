//! Putting a fragmented message together again.

use zerocopy::IntoBytes;

use super::frame::TRAIN_PREFIX_BYTES;

/// The message that is being put together, in memory that was set aside at the start.
#[derive(Debug)]
pub(crate) struct Train {
    storage: Vec<u128>,
    bytes_max: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No message has begun, or its beginning was not seen.
    Idle,
    Open {
        timestamp_ns: u64,
        flags: u8,
        total: u64,
        filled: u64,
    },
    Complete {
        timestamp_ns: u64,
        flags: u8,
        total: u64,
    },
}

impl Train {
    /// Room for a message of `bytes_max`. The pages are touched when they are first needed.
    pub(crate) fn new(bytes_max: u64) -> Train {
        Train { storage: vec![0; bytes_max.div_ceil(16) as usize], bytes_max, state: State::Idle }
    }

    /// Begins with the first fragment's payload: the total length in 8 bytes, then data.
    pub(crate) fn first(
        &mut self,
        timestamp_ns: u64,
        flags: u8,
        payload: &[u8],
    ) -> Result<(), &'static str> {
        self.state = State::Idle;
        let (prefix, part) = payload
            .split_at_checked(TRAIN_PREFIX_BYTES as usize)
            .ok_or("a first fragment without its total length")?;
        let total = u64::from_le_bytes(prefix.try_into().expect("the prefix is 8 bytes"));
        if total > self.bytes_max {
            return Err("a fragmented message that is longer than the topic allows");
        }
        self.state = State::Open { timestamp_ns, flags, total, filled: 0 };
        self.add(part)
    }

    /// Adds a later fragment; none is expected when the beginning was not seen.
    pub(crate) fn add(&mut self, part: &[u8]) -> Result<(), &'static str> {
        if let State::Open { total, filled, .. } = &mut self.state {
            let end = *filled + part.len() as u64;
            if end > *total {
                self.state = State::Idle;
                return Err("fragments that add up to more than their message's length");
            }
            self.storage.as_mut_bytes()[*filled as usize..end as usize].copy_from_slice(part);
            *filled = end;
        }
        Ok(())
    }

    /// Adds the last fragment. True when there is a message now.
    pub(crate) fn last(&mut self, part: &[u8]) -> Result<bool, &'static str> {
        self.add(part)?;
        let State::Open { timestamp_ns, flags, total, filled } = self.state else {
            return Ok(false);
        };
        if filled != total {
            self.state = State::Idle;
            return Err("fragments that add up to less than their message's length");
        }
        self.state = State::Complete { timestamp_ns, flags, total };
        Ok(true)
    }

    /// Forgets what there is of it.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.state = State::Idle;
    }

    /// The message's timestamp, flags and payload, once it is complete.
    #[inline]
    pub(crate) fn message(&self) -> Option<(u64, u8, &[u8])> {
        match self.state {
            State::Complete { timestamp_ns, flags, total } => {
                Some((timestamp_ns, flags, &self.storage.as_bytes()[..total as usize]))
            }
            _ => None,
        }
    }

    /// Whether there is nothing of a message.
    #[inline(always)]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    #[inline(always)]
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete { .. })
    }
}
