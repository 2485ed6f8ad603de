//! A mounted world: a process in namespaces of its own that runs what it is told.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::error::{Error, Result};
use crate::isolation::{isolated, tail};
use crate::machine::NETWORK_ENVIRONMENT;
use crate::root::Root;
use crate::workspace::{Job, Workspace};
use crate::world::{Worlds, io};

const WORLD: &str = concat!(include_str!("../mount.sh"), include_str!("world.sh"));

/// A world with an empty layer on top, mounted as long as this lives.
#[derive(Debug)]
pub(crate) struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) job: Job,
    log: PathBuf,
}

impl Session {
    /// Mounts `world`.
    pub(crate) fn start(
        workspace: &Workspace,
        worlds: &Worlds,
        world: usize,
        name: &str,
    ) -> Result<Self> {
        let job = workspace.job(name)?;
        let directory = job.directory();
        let cache = workspace.cache();
        fs::create_dir_all(cache.join("partial")).map_err(io("creating", &cache))?;
        let config = directory.join("apt.conf");
        fs::write(&config, workspace.apt_config(directory)).map_err(io("writing", &config))?;
        let log = directory.join("log");
        let mut command = isolated(&log)?;
        command
            .args(["/bin/sh", "-c", WORLD, "world"])
            .arg(worlds.directory())
            .arg(worlds.lower(world))
            .arg(directory)
            .arg(&cache)
            .arg(&log)
            .env("APT_CONFIG", &config)
            .env("OURS", NETWORK_ENVIRONMENT.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(io("running", Path::new("setpriv")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io("running", &log)(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut session = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
            job,
            log,
        };
        session.answer("mount")?;
        Ok(session)
    }

    /// Runs a command line in sh(1); answers its exit status. `$root` is the mounted root, `$job` the job's directory.
    pub(crate) fn run(&mut self, line: &str) -> Result<i32> {
        let log = self.log.clone();
        if let Some(input) = &mut self.input {
            writeln!(input, "{line}").map_err(io("writing to", &log))?;
        }
        let tool = line
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned();
        let answer = self.answer(&tool)?;
        Ok(answer.parse().unwrap_or(-1))
    }

    fn answer(&mut self, tool: &str) -> Result<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.map_err(io("reading from", &self.log))?;
        if line.is_empty() {
            let status = self.child.wait().map_err(io("waiting for", &self.log))?;
            return Err(Error::Tool {
                tool: tool.to_owned(),
                status,
                log: self.log_tail(),
            });
        }
        Ok(line.trim().to_owned())
    }

    /// The last lines of what commands said.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// The mounted root, as this process sees it: through the mount namespace of the other (proc(5), `/proc/PID/root`).
    pub(crate) fn root_path(&self) -> PathBuf {
        let directory = self.job.directory().join("root");
        let mut path = String::new();
        let _ = write!(
            path,
            "/proc/{}/root{}",
            self.child.id(),
            directory.display()
        );
        PathBuf::from(path)
    }

    /// The mounted root.
    pub(crate) fn root(&self) -> Root {
        Root::new(vec![self.root_path()])
    }

    /// Unmounts; what was installed stays in the job's upper directory.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        self.input = None;
        self.child.wait().map_err(io("waiting for", &self.log))?;
        Ok(Finished { session: self })
    }
}

/// An unmounted session, whose job is still there.
#[derive(Debug)]
pub(crate) struct Finished {
    session: Session,
}

impl Finished {
    pub(crate) fn job(&self) -> &Job {
        &self.session.job
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // the shell ends when its input does, and the mounts with it; the job's directory can be removed after that
        self.input = None;
        let _ = self.child.wait();
    }
}
