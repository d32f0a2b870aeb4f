//! The input of the command: what a message source is and how its format is told. Change here to
//! add a format; each framing has its own file.
//!
//! Three formats: lines of text, length-prefixed records (BinaryFILE) and packet captures (pcap,
//! pcapng). Any of them may be gzip-compressed. Reading holds one record in memory, whatever the
//! size of the file.

mod capture;
mod datagram;
mod error;
mod length_prefixed;
mod lines;
mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use capture::{Packet, Pcap, PcapNg};
pub(crate) use datagram::Skipped;
pub(crate) use error::InputError;
use source::{READ_BUFFER_BYTES, Source};

/// The longest captured packet that is read, and the longest line unless
/// [`Input::line_bytes_max`] says otherwise. Longer ones are an error; no more memory than this is
/// taken for them.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// How messages are told apart in a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// By the first bytes: a pcap or pcapng capture, otherwise length-prefixed
    Auto,
    /// One message a line, without its newline
    Lines,
    /// A big-endian 16-bit length before each message (BinaryFILE)
    LengthPrefixed,
    /// The UDP payloads of a pcap or pcapng capture
    Capture,
}

/// One message of a source, borrowed until the next one is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// When a capture recorded it, in ns since the Unix epoch; other formats carry no time.
    pub(crate) timestamp_ns: Option<u64>,
    /// The message.
    pub(crate) payload: &'a [u8],
}

/// A source of messages.
pub(crate) struct Input {
    source: Source,
    framing: Framing,
    line_bytes_max: u64,
    buffer: Vec<u8>,
    skipped: Skipped,
    finished: bool,
}

enum Framing {
    Lines,
    LengthPrefixed,
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Where in the buffer the next message lies.
struct Located {
    timestamp_ns: Option<u64>,
    payload: Range<usize>,
}

impl Input {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened or read, or is not of `format`.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self, InputError> {
        let file = File::open(path)
            .map_err(|source| InputError::Open { path: path.to_owned(), source })?;
        Self::from_reader(Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)), format)
    }

    /// Reads messages from `reader`, such as standard input.
    ///
    /// No more bytes are waited for than it takes to tell the format, so lines typed at a terminal
    /// arrive one by one.
    ///
    /// # Errors
    /// When `reader` fails, or its first bytes are not of `format`.
    pub(crate) fn from_reader(
        reader: Box<dyn BufRead>,
        format: Format,
    ) -> Result<Self, InputError> {
        let mut source = Source::new(reader)?;
        let framing = match format {
            Format::Lines => Framing::Lines,
            Format::LengthPrefixed => Framing::LengthPrefixed,
            Format::Auto | Format::Capture => match source.peek(&source::MAGICS)? {
                Some(source::PCAPNG) => Framing::PcapNg(PcapNg::default()),
                Some(source::ZSTD) => return Err(InputError::Zstandard),
                Some(source::GZIP) => return Err(InputError::NestedGzip),
                Some(_) => Framing::Pcap(Pcap::default()),
                None if format == Format::Auto => Framing::LengthPrefixed,
                None => return Err(InputError::NotACapture),
            },
        };
        Ok(Self {
            source,
            framing,
            line_bytes_max: RECORD_BYTES_MAX as u64,
            buffer: Vec::new(),
            skipped: Skipped::default(),
            finished: false,
        })
    }

    /// Reads lines of up to `bytes`, where the format is lines.
    pub(crate) fn line_bytes_max(self, bytes: u64) -> Self {
        Self { line_bytes_max: bytes, ..self }
    }

    /// The next message, or `None` at the end.
    ///
    /// # Errors
    /// [`InputError::Truncated`] when the source ends inside a record, which a file that is still
    /// being written does: all whole messages came before it. Other errors say where the source is
    /// damaged. After an error the source is at its end.
    pub(crate) fn next_record(&mut self) -> Result<Option<Record<'_>>, InputError> {
        if self.finished {
            return Ok(None);
        }
        let located = self.locate_next();
        self.finished = !matches!(located, Ok(Some(_)));
        Ok(located?.map(|located| Record {
            timestamp_ns: located.timestamp_ns,
            payload: &self.buffer[located.payload],
        }))
    }

    /// What a capture held besides the messages, so far.
    pub(crate) fn skipped(&self) -> Skipped {
        self.skipped
    }

    fn locate_next(&mut self) -> Result<Option<Located>, InputError> {
        let (source, buffer) = (&mut self.source, &mut self.buffer);
        loop {
            let packet = match &mut self.framing {
                Framing::Lines => {
                    return located(lines::next_line(source, self.line_bytes_max, buffer));
                }
                Framing::LengthPrefixed => {
                    return located(length_prefixed::next_message(source, buffer));
                }
                Framing::Pcap(pcap) => pcap.next_packet(source, buffer)?,
                Framing::PcapNg(pcapng) => pcapng.next_packet(source, buffer)?,
            };
            let Some(Packet { timestamp_ns, link_type, data, original_bytes }) = packet else {
                return Ok(None);
            };
            let cut = data.len() < original_bytes;
            match datagram::payload(link_type, &buffer[data.clone()], cut) {
                Ok(payload) => {
                    let payload = data.start + payload.start..data.start + payload.end;
                    return Ok(Some(Located { timestamp_ns, payload }));
                }
                Err(reason) => self.skipped.count(reason),
            }
        }
    }
}

fn located(
    payload: Result<Option<Range<usize>>, InputError>,
) -> Result<Option<Located>, InputError> {
    Ok(payload?.map(|payload| Located { timestamp_ns: None, payload }))
}
