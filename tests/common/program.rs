//! Other programs: run to their end within a limit, or kept running and ended with the test, always by their own pid.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::wait_until;

/// Enough for any client here on a loaded machine; a program that hangs fails its test instead of the whole run.
const LIMIT: Duration = Duration::from_secs(30);

/// A command line to be run. Output goes to files, so a program that writes much never blocks on us.
pub(crate) struct Program {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command_line: String,
}

/// A program that runs until it is stopped or dropped.
pub(crate) struct Running {
    child: Child,
    output: TempDir,
    command_line: String,
}

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            command: Command::new(program),
            input: Vec::new(),
            limit: LIMIT,
        }
    }

    /// What stands in front of a program that only root may run.
    pub(crate) fn root_words() -> &'static [&'static str] {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if is_root { &[] } else { &["sudo", "-n"] }
    }

    /// A program that only root may run: through `sudo` when the tests run as somebody else.
    pub(crate) fn as_root(program: &str) -> Self {
        let words: Vec<&str> = Self::root_words().iter().copied().chain([program]).collect();
        Self::new(words[0])
            .args(&words[1..])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads on its standard input; nothing by default.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Another limit than 30 seconds.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        let limit = self.limit;
        self.start().wait(limit)
    }

    /// Starts it, in a process group of its own: a signal to its group cannot reach the test.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let output = tempfile::tempdir().unwrap();
        let input = output.path().join("input");
        fs::write(&input, &self.input).unwrap();
        self.command
            .process_group(0)
            .stdin(File::open(input).unwrap())
            .stdout(file(&output, "stdout"))
            .stderr(file(&output, "stderr"));
        let command_line = format!("{:?}", self.command);
        let child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{command_line}: {error}; scripts/test installs what tests need"));
        Running {
            child,
            output,
            command_line,
        }
    }
}

impl Finished {
    /// Fails the test, with the output, unless the exit code is 0.
    #[track_caller]
    pub(crate) fn assert_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Fails the test, with the output, if the exit code is 0.
    #[track_caller]
    pub(crate) fn assert_failure(self) -> Self {
        assert_ne!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Both streams, for clients that are not strict about which they use.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far on its standard output.
    pub(crate) fn stdout(&self) -> String {
        read(&self.output, "stdout")
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.output, "stderr")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal by name: `INT`, `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        Program::as_root("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .run()
            .assert_success();
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself; if it does not within `limit`, the test fails and it is killed.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Finished {
        let command_line = self.command_line.clone();
        let status = wait_until(&command_line, limit, || self.child.try_wait().unwrap());
        Finished {
            code: status.code(),
            stdout: self.stdout(),
            stderr: self.stderr(),
            command_line,
        }
    }

    /// Asks it to end with a signal, and waits.
    #[track_caller]
    pub(crate) fn stop(self, signal: &str, limit: Duration) -> Finished {
        self.signal(signal);
        self.wait(limit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn file(folder: &TempDir, name: &str) -> Stdio {
    File::create(folder.path().join(name)).unwrap().into()
}

fn read(folder: &TempDir, name: &str) -> String {
    let bytes = fs::read(folder.path().join(name)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
