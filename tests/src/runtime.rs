//! Calls of the runtime under test, each with a deadline, and their output.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::child;

/// Environment variable of every call: what the runtime leaves running is recognised by it.
pub const MARKER: &str = "FRAGMENT_TEST_ID";

/// A runtime binary with a state directory of its own.
#[derive(Debug, Clone)]
pub struct Runtime {
    program: PathBuf,
    root: PathBuf,
    id: String,
    user: Option<u32>,
    flags: Vec<OsString>,
    session: Vec<(OsString, OsString)>,
}

impl Runtime {
    /// The runtime under test, keeping its state in `root`; `id` marks its processes.
    #[must_use]
    pub fn under_test(root: PathBuf, id: &str) -> Self {
        Self {
            program: binary("FRAGMENT_RUNC", "fragment-runc"),
            root,
            id: id.to_owned(),
            user: None,
            flags: Vec::new(),
            session: Vec::new(),
        }
    }

    /// The same with a flag in front of every command.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// The same with the variables that lead to the caller's session bus and runtime directory.
    #[must_use]
    pub fn in_session(mut self) -> Self {
        let names = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];
        let set = names.map(|name| Some((name.into(), std::env::var_os(name)?)));
        self.session = set.into_iter().flatten().collect();
        self
    }

    /// The same, called by this user and group and no other group; when the test itself is not root, it is that user.
    #[must_use]
    pub fn called_by(&self, user: u32) -> Self {
        Self {
            user: rustix::process::geteuid().is_root().then_some(user),
            ..self.clone()
        }
    }

    /// The same with another binary.
    #[must_use]
    pub fn with_program(&self, program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            ..self.clone()
        }
    }

    /// The binary.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The state directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the binary is Debian's runc, the yardstick.
    #[must_use]
    pub fn is_runc(&self) -> bool {
        self.bare()
            .args(["--version"])
            .output()
            .stdout
            .starts_with("runc version")
    }

    /// A call without any argument, not even `--root`.
    pub fn bare(&self) -> Call {
        let mut call = Call::of(self.program.clone()).env(MARKER, &self.id);
        call.user = self.user;
        call.environment.extend(self.session.iter().cloned());
        call
    }

    /// `RUNTIME --root ROOT ARGUMENTS…`.
    pub fn call<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Call {
        self.bare()
            .args([OsStr::new("--root"), self.root.as_os_str()])
            .args(&self.flags)
            .args(arguments)
    }
}

/// The binary that `variable` names, else `name` where Cargo puts it, else `name` on `PATH`.
pub(crate) fn binary(variable: &str, name: &str) -> PathBuf {
    if let Some(program) = std::env::var_os(variable) {
        return program.into();
    }
    // target/PROFILE/deps/TEST-HASH: the binaries are one directory up
    let beside = std::env::current_exe()
        .ok()
        .and_then(|test| Some(test.parent()?.parent()?.join(name)))
        .filter(|program| program.exists());
    beside.unwrap_or_else(|| name.into())
}

/// One call of the runtime, before it is made.
#[derive(Debug)]
#[must_use]
pub struct Call {
    program: OsString,
    arguments: Vec<OsString>,
    shell: Option<String>,
    stdin: Option<Vec<u8>>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    user: Option<u32>,
    limit: Duration,
}

impl Call {
    /// A call of `program` without any argument, in an environment of `PATH` and the component library alone, without the
    /// configuration of this machine.
    pub(crate) fn of(program: PathBuf) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            program: program.into(),
            arguments: Vec::new(),
            shell: None,
            stdin: None,
            environment: vec![
                ("PATH".into(), path.into()),
                ("FRAGMENT_STORE".into(), crate::fragment::store().into()),
                ("FRAGMENT_CONFIG".into(), "/dev/null".into()),
            ],
            directory: None,
            user: None,
            limit: child::LIMIT,
        }
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Bytes to be read from stdin, which is otherwise `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Adds a variable to the runtime's environment, which is otherwise `PATH` and [`MARKER`].
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Working directory of the runtime.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long the call may take.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Makes the call from a shell script, in which `"$@"` is the call: for file descriptors, resource limits, cgroups
    /// and namespaces that a plain spawn cannot express.
    pub fn within(mut self, script: &str) -> Self {
        self.shell = Some(script.to_owned());
        self
    }

    /// The call as a `Command`, for tests that choose stdio themselves.
    pub fn command(&self) -> Command {
        let mut command = if let Some(script) = &self.shell {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-ec", script, "sh"]).arg(&self.program);
            shell
        } else {
            Command::new(&self.program)
        };
        command.args(&self.arguments).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(user) = self.user {
            // with the group list of neither root nor the user
            command.uid(user).gid(user);
        }
        command
    }

    /// Makes the call and waits for its end.
    ///
    /// Output goes through files, not pipes: a container that lives on holds the runtime's stdout open, and reading a pipe to
    /// its end would wait for it.
    ///
    /// # Panics
    /// When the binary cannot be started or takes longer than its limit.
    pub fn output(self) -> Output {
        let (mut stdout, mut stderr) = (file(), file());
        let stdin = self.stdin.as_ref().map_or_else(Stdio::null, |bytes| {
            let mut file = file();
            file.write_all(bytes)
                .and_then(|()| file.rewind())
                .expect("write stdin's file");
            file.into()
        });
        let mut command = self.command();
        command
            .stdin(stdin)
            .stdout(stdout.try_clone().expect("dup"))
            .stderr(stderr.try_clone().expect("dup"));
        let mut child = spawn(&mut command);
        let line = self.line();
        let Some(status) = child::wait(&mut child, self.limit) else {
            let _ = child.kill();
            let _ = child.wait();
            let (stdout, stderr) = (contents(&mut stdout), contents(&mut stderr));
            panic!(
                "still running after {:?}, killed: {line}\nstdout: {stdout}\nstderr: {stderr}",
                self.limit
            );
        };
        Output {
            status,
            stdout: contents(&mut stdout),
            stderr: contents(&mut stderr),
            line,
        }
    }

    /// The call as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Starts `command`.
///
/// # Panics
/// When it cannot be started, naming the program.
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        panic!(
            "start {}: {error} (set FRAGMENT_RUNC, or cargo build -p fragment-runc)",
            command.get_program().display()
        )
    })
}

fn file() -> File {
    tempfile::tempfile().expect("an unnamed temporary file")
}

fn contents(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("read captured output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a call came to. The checks panic with the whole output, and return `self` to go on checking.
#[derive(Debug)]
pub struct Output {
    /// How the runtime ended.
    pub status: ExitStatus,
    /// What it (and a container it ran) wrote to stdout.
    pub stdout: String,
    /// The same of stderr.
    pub stderr: String,
    line: String,
}

impl Output {
    /// It exited with `code`.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "exit code\n{self}");
        self
    }

    /// It exited with 0.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.code(0)
    }

    /// It exited by itself, with something else than 0, and said why, in these words, on stderr.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fails_with(&self, words: &str) -> &Self {
        assert!(
            self.status.code().is_some_and(|code| code != 0),
            "it was to fail\n{self}"
        );
        // logrus' text format, which runc prints on stderr, escapes quotes
        let said = self.stderr.replace("\\\"", "\"").to_lowercase();
        assert!(
            said.contains(&words.to_lowercase()),
            "stderr was to hold {words:?}\n{self}"
        );
        self
    }

    /// Its stdout is exactly this.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn stdout(&self, text: &str) -> &Self {
        assert_eq!(self.stdout, text, "stdout\n{self}");
        self
    }

    /// Its stderr is exactly this.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn stderr(&self, text: &str) -> &Self {
        assert_eq!(self.stderr, text, "stderr\n{self}");
        self
    }

    /// Its stdout holds this.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(
            self.stdout.contains(words),
            "stdout was to hold {words:?}\n{self}"
        );
        self
    }

    /// Its stdout as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "call: {}", self.line)?;
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => writeln!(f, "exit code: {code}")?,
            (None, signal) => writeln!(f, "killed by signal: {signal:?}")?,
        }
        writeln!(f, "stdout: {}", self.stdout)?;
        write!(f, "stderr: {}", self.stderr)
    }
}
