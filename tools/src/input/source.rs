//! The bytes of a source, with their position: change here what compression is looked through and
//! by which first bytes a format is known.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::InputError;

/// Bytes that are asked of the system or the decompressor at a time.
pub(super) const READ_BUFFER_BYTES: usize = 64 * 1024;

// The third byte is the only compression method there is.
pub(super) const GZIP: &[u8] = &[0x1F, 0x8B, 0x08];
pub(super) const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
pub(super) const PCAPNG: &[u8] = &[0x0A, 0x0D, 0x0D, 0x0A];
const PCAP_LITTLE_US: &[u8] = &[0xD4, 0xC3, 0xB2, 0xA1];
const PCAP_BIG_US: &[u8] = &[0xA1, 0xB2, 0xC3, 0xD4];
const PCAP_LITTLE_NS: &[u8] = &[0x4D, 0x3C, 0xB2, 0xA1];
const PCAP_BIG_NS: &[u8] = &[0xA1, 0xB2, 0x3C, 0x4D];

/// The first bytes that tell a format.
pub(super) const MAGICS: [&[u8]; 7] =
    [GZIP, ZSTD, PCAPNG, PCAP_LITTLE_US, PCAP_BIG_US, PCAP_LITTLE_NS, PCAP_BIG_NS];

/// A reader that knows how far it has come.
pub(super) struct Source {
    reader: Box<dyn BufRead>,
    position: u64,
}

impl Source {
    /// Looks through one layer of gzip, all its members. Not through more: a file can be made that
    /// decompresses to itself for ever.
    pub(super) fn new(reader: Box<dyn BufRead>) -> Result<Self, InputError> {
        let mut source = Self { reader, position: 0 };
        if source.peek(&[GZIP])?.is_some() {
            let decoder = MultiGzDecoder::new(source.reader);
            source.reader = Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, decoder));
        }
        Ok(source)
    }

    /// Which of `magics` the source starts with, reading no further than it takes to tell.
    pub(super) fn peek(
        &mut self,
        magics: &[&'static [u8]],
    ) -> Result<Option<&'static [u8]>, InputError> {
        debug_assert_eq!(self.position, 0, "only the start of a source tells its format");
        let mut seen = Vec::new();
        let found = loop {
            if let Some(magic) = magics.iter().find(|magic| **magic == seen) {
                break Some(*magic);
            }
            let undecided = magics.iter().any(|magic| magic.starts_with(&seen));
            if !undecided || self.append(1, &mut seen)? == 0 {
                break None;
            }
        };
        self.position = 0;
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = Box::new(Cursor::new(seen).chain(rest));
        Ok(found)
    }

    /// The number of bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Appends `length` bytes to `buffer`; says how many there were before the end. Memory grows
    /// with what arrives, not with what `length` promises.
    pub(super) fn append(
        &mut self,
        length: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<usize, InputError> {
        let result = self.reader.by_ref().take(length as u64).read_to_end(buffer);
        self.advance(result.map(|bytes| bytes as u64)).map(|bytes| bytes as usize)
    }

    /// Appends bytes up to and including a newline, at most `limit`; says how many there were.
    pub(super) fn append_line(
        &mut self,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<usize, InputError> {
        let result = self.reader.by_ref().take(limit).read_until(b'\n', buffer);
        self.advance(result.map(|bytes| bytes as u64)).map(|bytes| bytes as usize)
    }

    /// Reads `length` bytes without keeping them; says how many there were before the end.
    pub(super) fn discard(&mut self, length: u64) -> Result<u64, InputError> {
        let result = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink());
        self.advance(result)
    }

    /// Appends `length` bytes of the record that starts at `start`.
    ///
    /// # Errors
    /// [`InputError::Truncated`] when the source ends before.
    pub(super) fn append_all(
        &mut self,
        start: u64,
        length: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), InputError> {
        if self.append(length, buffer)? == length { Ok(()) } else { Err(self.truncated(start)) }
    }

    /// The error for a record that starts at `start` and ends with the source.
    pub(super) fn truncated(&self, start: u64) -> InputError {
        InputError::Truncated { position: start, leftover_bytes: self.position - start }
    }

    fn advance(&mut self, result: io::Result<u64>) -> Result<u64, InputError> {
        match result {
            Ok(bytes) => {
                self.position += bytes;
                Ok(bytes)
            }
            Err(source) => Err(InputError::Read { position: self.position, source }),
        }
    }
}
