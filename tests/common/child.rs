//! Children: this test program once more, as a process of its own that plays a role.
//!
//! A program that has children has a test of the name `child`, ignored, that does what [`role`]
//! says. Parent and child talk in lines.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{mem, thread};

use super::{ROOT_VARIABLE, root};

const ROLE_VARIABLE: &str = "TICKCAST_TEST_ROLE";

/// Marks lines to the parent among what the test harness prints.
const MARK: char = '\u{1}';

/// How long anything may take before it counts as hanging. Nothing is measured by it.
pub(crate) const HANGING: Duration = Duration::from_secs(120);

/// What this process is to do as a child; `None` in the parent.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE_VARIABLE).ok()
}

/// The words of this child's role; `None` when somebody ran the test `child` by hand.
pub(crate) fn begin() -> Option<Vec<String>> {
    let role = role()?;
    root();
    Some(role.split(' ').map(str::to_owned).collect())
}

/// Goes on in another role, as a program that starts anew in what this thread has made its own:
/// what is the thread's becomes the process's. Returns only to say why that fails.
pub(crate) fn go_on_as(role: &str) -> io::Error {
    let program = env::current_exe().expect("this program has a path");
    Command::new(program).args(env::args_os().skip(1)).env(ROLE_VARIABLE, role).exec()
}

/// Has this process killed when the thread that made it ends. A change of user takes it back.
pub(crate) fn die_with_parent() {
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Says a line to the parent.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    // One write, so that a kill cannot cut it.
    let line = format!("{MARK}{line}\n");
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

/// Waits for a line from the parent; `None` when it says no more.
pub(crate) fn listen() -> Option<String> {
    let mut line = String::new();
    let count = io::stdin().lock().read_line(&mut line).expect("lines are text");
    (count > 0).then(|| line.trim_end().to_owned())
}

/// A child, killed when it is dropped.
pub(crate) struct Child {
    process: process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a child with this role.
    pub(crate) fn spawn(role: &str) -> Child {
        let program = env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command
            .args(["child", "--exact", "--ignored", "--nocapture", "--quiet"])
            .env(ROLE_VARIABLE, role)
            .env(ROOT_VARIABLE, root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let before_exec = || {
            die_with_parent();
            Ok(())
        };
        // SAFETY: what runs between fork and exec is one system call. (That anything does makes
        // this a real fork, at which a child loses its parent's locks: without, it would keep them
        // until its exec, and a test that drops a lock in another thread could find it held.)
        let command = unsafe { command.pre_exec(before_exec) };
        let mut process = command.spawn().expect("this program runs once more");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Child { process, input, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Says a line to the child.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("still open");
        writeln!(input, "{line}").expect("the child listens");
    }

    /// The child's next line; `None` when it has ended.
    pub(crate) fn hear_or_end(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// The child's next line.
    pub(crate) fn hear(&mut self) -> String {
        self.hear_or_end().expect("the child ended before it had said everything")
    }

    /// Kills it, at whatever it is doing.
    pub(crate) fn kill(self) {
        self.kill_and_hear();
    }

    /// Kills it, and returns what it had said by then.
    pub(crate) fn kill_and_hear(mut self) -> Vec<String> {
        self.process.kill().expect("it is ours");
        let status = self.process.wait().expect("it is ours");
        assert!(
            matches!(signal_of(status), Some(libc::SIGKILL)),
            "the child ended before it was killed: {status}"
        );
        std::iter::from_fn(|| self.hear_or_end()).collect()
    }

    /// Waits for its end; `None` when that does not come.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        drop(mem::take(&mut self.input));
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("it is ours") {
                return Some(status);
            }
            if started.elapsed() > HANGING {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end, which is a good one.
    pub(crate) fn finish(mut self) {
        let status = self.end().expect("the child hangs");
        assert!(status.success(), "the child failed: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The signal that ended a process.
pub(crate) fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}
