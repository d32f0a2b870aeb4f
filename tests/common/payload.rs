//! Payloads that are a function of where they stand, so that one that is torn, lost, repeated or
//! out of place shows.

/// Largest payload that is not fragmented.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: u64 = 65_392;

/// A bijection that looks random (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Length of message `offset`: mostly below 400 bytes, some of several thousand, and every 509th is
/// fragmented where `bytes_max`, the longest that the topic takes, allows it.
pub(crate) fn length_of(offset: u64, bytes_max: u64) -> usize {
    let random = mix(offset);
    let length = if offset % 509 == 508 && bytes_max > FRAME_PAYLOAD_BYTES_MAX {
        FRAME_PAYLOAD_BYTES_MAX + 1 + random % (bytes_max - FRAME_PAYLOAD_BYTES_MAX)
    } else if offset % 97 == 96 {
        random % 9000
    } else {
        random % 400
    };
    length.min(bytes_max) as usize
}

fn word(stream: u64, offset: u64, at: usize) -> [u8; 8] {
    mix(stream << 56 ^ offset << 20 ^ at as u64).to_le_bytes()
}

/// Fills `bytes` as the payload of message `offset` of `stream` begins.
pub(crate) fn fill(bytes: &mut [u8], stream: u64, offset: u64) {
    for (at, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(stream, offset, at)[..chunk.len()]);
    }
}

/// The payload of message `offset` of `stream`.
pub(crate) fn payload(stream: u64, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill(&mut bytes, stream, offset);
    bytes
}

/// Whether `bytes` are what [`fill`] makes.
pub(crate) fn is_payload(bytes: &[u8], stream: u64, offset: u64) -> bool {
    bytes.chunks(8).enumerate().all(|(at, chunk)| chunk == &word(stream, offset, at)[..chunk.len()])
}
