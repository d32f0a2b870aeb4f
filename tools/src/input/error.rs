//! Why a source could not be read further: change the wording of input errors here.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::RECORD_BYTES_MAX;

/// Why a source could not be opened or read further. Positions count bytes from the start of the
/// source, after decompression.
#[derive(Debug)]
pub(crate) enum InputError {
    /// The file could not be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The source could not be read, or its compressed data is damaged or cut.
    Read {
        /// How many bytes had been read.
        position: u64,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// The source ends inside a record.
    Truncated {
        /// Where the unfinished record starts.
        position: u64,
        /// How many bytes of it there are.
        leftover_bytes: u64,
    },
    /// A line is longer than a message can be.
    LineTooLong {
        /// Where the line starts.
        position: u64,
        /// The longest that is read.
        bytes_max: u64,
    },
    /// Bytes follow the end of the session.
    AfterEnd {
        /// Where they start.
        position: u64,
    },
    /// A record is longer than is read.
    TooLong {
        /// Where the record starts.
        position: u64,
        /// Its length as far as it is known.
        length_bytes: u64,
    },
    /// A record contradicts its format.
    Damaged {
        /// Where the record starts.
        position: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The source is Zstandard-compressed.
    Zstandard,
    /// The source is gzip inside gzip.
    NestedGzip,
    /// A capture was asked for and the source is none.
    NotACapture,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, .. } => {
                write!(f, "cannot open {}: check that it exists and may be read", path.display())
            }
            Self::Read { position, .. } => {
                write!(f, "cannot read the input beyond byte {position}: check that it is complete")
            }
            Self::Truncated { position, leftover_bytes } => write!(
                f,
                "the input ends inside a record: {leftover_bytes} bytes are left over at byte \
                 {position}; the messages before it are complete, wait for or fetch the rest"
            ),
            Self::LineTooLong { position, bytes_max } => write!(
                f,
                "the line at byte {position} is longer than {bytes_max} bytes, the longest message \
                 of this topic: break it up, or publish to a topic with larger rings"
            ),
            Self::AfterEnd { position } => write!(
                f,
                "the session ends, by a length of zero, before byte {position}, but bytes follow: \
                 the messages before it are complete, split the input there to read the rest"
            ),
            Self::TooLong { position, length_bytes } => write!(
                f,
                "the record at byte {position} is {length_bytes} bytes long or more, of at most \
                 {RECORD_BYTES_MAX}: check that the input has the given format"
            ),
            Self::Damaged { position, what } => write!(
                f,
                "the input is damaged at byte {position}: {what}; the messages before it are \
                 complete, fetch the file again for the rest"
            ),
            Self::Zstandard => {
                f.write_str("the input is Zstandard-compressed: decompress it first (zstd -d)")
            }
            Self::NestedGzip => {
                f.write_str("the input is gzip inside gzip: decompress it once first (gzip -d)")
            }
            Self::NotACapture => {
                f.write_str("the input is neither pcap nor pcapng: choose the format that it has")
            }
        }
    }
}

impl Error for InputError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}
