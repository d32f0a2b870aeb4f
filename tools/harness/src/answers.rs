//! What another process or thread says: a line of JSON at a time, over a pipe, and waited for no
//! longer than it may take. Its standard output belongs to the libraries that it uses, which print
//! there what they like: that is put aside.
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read at once: all that a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// Says something to who [hears](Answers::hear) it.
///
/// # Errors
/// When nobody is left who does.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).context("the other side has ended")
}

/// Where standard output was, to be said things to by this program alone. What is printed from here
/// on goes to standard error.
///
/// # Errors
/// When there is none.
pub fn put_stdout_aside() -> Result<File> {
    let aside = io::stdout().as_fd().try_clone_to_owned().context("no standard output")?;
    rustix::stdio::dup2_stdout(io::stderr()).context("cannot put standard output aside")?;
    Ok(aside.into())
}

/// The hearing end of a pipe.
#[derive(Debug)]
pub struct Answers {
    from: File,
    /// What came behind the last whole line.
    begun: Vec<u8>,
}

impl Answers {
    /// What is said into the other end of this pipe.
    pub fn of(from: impl Into<OwnedFd>) -> Self {
        Self { from: File::from(from.into()), begun: Vec::new() }
    }

    /// What is said next, if all of it comes within `timeout`; nothing if nobody is left to say it.
    ///
    /// # Errors
    /// When it does not come, or is something else.
    pub fn hear<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<Option<T>> {
        let start = Instant::now();
        let line = loop {
            if let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
                break self.begun.drain(..=end).collect::<Vec<u8>>();
            }
            let limit = Timespec::try_from(timeout.saturating_sub(start.elapsed()))?;
            match poll(&mut [PollFd::new(&self.from, PollFlags::IN)], Some(&limit)) {
                Err(Errno::INTR) => continue,
                ready => ensure!(ready? > 0, "it says nothing for {} s", timeout.as_secs()),
            }
            let mut bytes = vec![0; READ_BYTES];
            match self.from.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => match read.context("cannot hear it")? {
                    0 => return Ok(None),
                    read => self.begun.extend_from_slice(&bytes[..read]),
                },
            }
        };
        serde_json::from_slice(&line).map(Some).context("it says something else than it should")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const LATE: Duration = Duration::from_secs(60);

    #[test]
    fn all_that_is_said_is_heard_in_order_until_the_end() {
        let (from, mut to) = io::pipe().unwrap();
        let mut answers = Answers::of(from);
        say(&mut to, &"one").unwrap();
        say(&mut to, &vec![2, 2]).unwrap();
        assert_eq!(answers.hear::<String>(LATE).unwrap().unwrap(), "one");
        assert_eq!(answers.hear::<Vec<u64>>(LATE).unwrap().unwrap(), [2, 2]);
        drop(to);
        assert_eq!(answers.hear::<String>(LATE).unwrap(), None);
    }

    #[test]
    fn who_says_nothing_or_only_begins_to_is_not_waited_for() {
        let (from, mut to) = io::pipe().unwrap();
        let mut answers = Answers::of(from);
        for begun in ["", "\"on"] {
            to.write_all(begun.as_bytes()).unwrap();
            let told = answers.hear::<String>(SOON).unwrap_err().to_string();
            assert_eq!(told, "it says nothing for 0 s");
        }
        to.write_all(b"e\"\n").unwrap();
        assert_eq!(answers.hear::<String>(LATE).unwrap().unwrap(), "one");
        to.write_all(b"a library's own words\n").unwrap();
        let told = answers.hear::<String>(LATE).unwrap_err().to_string();
        assert_eq!(told, "it says something else than it should");
    }
}
