//! FNV-1a, for what has to be the same on every machine and in every version.

/// The FNV-1a hash of 64 bits (draft-eastlake-fnv).
pub(crate) fn fnv_1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
