//! What messages and losses look like when they are printed: change the formats here.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;
use tickcast::{LossCause, Message, NoticeKind, Origin};

use crate::interrupt;

const BUFFER_BYTES: usize = 64 * 1024;

/// How a message is printed.
// No help of their own for the values: it would not fit the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Hex,
    Raw,
}

/// Prints messages on standard output, and losses where the format has a place for them; else they
/// go to standard error, with everything else that is not a message.
pub(crate) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    /// The topics' names, by [`Origin::topic`].
    topics: Vec<String>,
    shows_partition: bool,
}

#[derive(Serialize)]
struct MessageLine<'a> {
    offset: u64,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

#[derive(Serialize)]
struct GapLine<'a> {
    gap: Gap,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
}

#[derive(Serialize)]
struct Gap {
    from: u64,
    to: u64,
    cause: String,
}

impl Printer {
    /// `topics`: their names, in the order in which they were given; where there are several, a
    /// format that has fields has one for it. `shows_partition`: one of them is the partition.
    pub(crate) fn new(format: Format, topics: Vec<String>, shows_partition: bool) -> Self {
        Self { out: stdout(), format, topics, shows_partition }
    }

    /// Prints a message.
    ///
    /// # Errors
    /// When standard output fails.
    pub(crate) fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        let topic = shown(&self.topics, message.origin);
        let (out, payload) = (&mut self.out, message.payload);
        match self.format {
            Format::Raw => return out.write_all(payload),
            Format::Hex => out.write_all(hex(payload).as_bytes())?,
            Format::Text if is_printable(payload) => out.write_all(payload)?,
            Format::Text => write!(out, "{}", payload.escape_ascii())?,
            Format::Json => {
                let text = str::from_utf8(payload).ok();
                let line = MessageLine {
                    offset: message.offset,
                    timestamp: message.timestamp_ns,
                    topic,
                    partition: self.shows_partition.then_some(message.origin.partition),
                    payload: text,
                    payload_hex: text.is_none().then(|| hex(payload)),
                };
                serde_json::to_writer(&mut *out, &line)?;
            }
        }
        out.write_all(b"\n")
    }

    /// Prints that the messages from `from` to `to` are lost.
    ///
    /// # Errors
    /// When standard output fails.
    pub(crate) fn loss(
        &mut self,
        origin: Origin,
        from: u64,
        to: u64,
        cause: LossCause,
    ) -> io::Result<()> {
        if self.format != Format::Json {
            self.notice(origin, &NoticeKind::Lost { from, to, cause });
            return Ok(());
        }
        let line = GapLine {
            gap: Gap { from, to, cause: cause.to_string() },
            topic: shown(&self.topics, origin),
            partition: self.shows_partition.then_some(origin.partition),
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// Tells people what happened to a partition.
    pub(crate) fn notice(&self, origin: Origin, kind: &NoticeKind) {
        tell(&format!("{}/{}: {kind}", self.topics[origin.topic as usize], origin.partition));
    }

    /// Lets everything printed so far be seen.
    ///
    /// # Errors
    /// When standard output fails.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Whether nobody can read what is printed any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        interrupt::is_abandoned(self.out.get_ref())
    }
}

/// The name of the topic, where there are several.
fn shown(topics: &[String], origin: Origin) -> Option<&str> {
    topics.get(origin.topic as usize).filter(|_| topics.len() > 1).map(String::as_str)
}

/// Standard output, buffered.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock())
}

/// What is left of a failure of standard output: whoever read it may stop at any time (`head`).
///
/// # Errors
/// All others.
pub(crate) fn unless_abandoned(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// Says something on standard output.
///
/// # Errors
/// When that fails.
pub(crate) fn say(what: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}

/// Says something on standard error. That it cannot be heard there is no failure.
pub(crate) fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "tickcast: {what}");
}

/// An error with its causes, but for those that it has told itself.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

/// Whether it can stand in a line as it is: text, and nothing that ends the line or steers a
/// terminal.
fn is_printable(payload: &[u8]) -> bool {
    str::from_utf8(payload)
        .is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\r')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let cause = io::Error::other("no such device");
        let wrapped = format!("cannot map x: {cause}");
        let error = anyhow::Error::new(cause).context(wrapped).context("cannot open md/trades");
        assert_eq!(chain(&error), "cannot open md/trades: cannot map x: no such device");
    }

    #[test]
    fn only_what_keeps_to_its_line_is_printed_as_it_is() {
        for payload in ["", "a b\tc", "naïve", "with a return\r"] {
            assert!(is_printable(payload.as_bytes()), "{payload:?}");
        }
        for payload in [&b"two\nlines"[..], b"\x1b[2J", b"\xff", b"\0"] {
            assert!(!is_printable(payload), "{payload:?}");
        }
    }
}
