//! criu(8), by its command line or, where that does not do, its protocol.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use libcontainer::oci_spec::runtime::{LinuxNamespaceType, Spec};
use libcontainer::rootfs::utils::is_bind;
use thiserror::Error;

use crate::checkpoint::protocol::{self, Answer, Request};
use crate::runtime::terminal;
use crate::specification::target;

/// Names a file of further options for criu; an empty one names none (runc, docs/checkpoint-restore.md).
const CONFIG_ANNOTATION: &str = "org.criu.config";
/// The file where there is no annotation: runc's, so that a machine set up for it is set up for us.
const CONFIG: &str = "/etc/criu/runc.conf";

/// What saving and restoring a container have in common.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // one per flag of criu
pub struct CriuOptions {
    /// The program, looked up in PATH unless it has a slash.
    pub program: PathBuf,
    /// Where the images are.
    pub images: PathBuf,
    /// Where logs go; with the images when not given.
    pub work: Option<PathBuf>,
    /// TCP connections are saved and restored.
    pub tcp_established: bool,
    /// Sockets whose other end is outside may be there.
    pub external_unix_sockets: bool,
    /// The session may be somebody else's.
    pub shell_job: bool,
    /// File locks are saved and restored.
    pub file_locks: bool,
    /// How cgroups are saved and restored: soft, full, strict or ignore.
    pub cgroups: String,
    /// Pages of images are freed as soon as they are not needed.
    pub auto_dedup: bool,
    /// Memory is moved when it is asked for.
    pub lazy_pages: bool,
}

impl Default for CriuOptions {
    fn default() -> Self {
        Self {
            program: "criu".into(),
            images: "checkpoint".into(),
            work: None,
            tcp_established: false,
            external_unix_sockets: false,
            shell_job: false,
            file_locks: false,
            cgroups: "soft".to_owned(),
            auto_dedup: false,
            lazy_pages: false,
        }
    }
}

/// Why criu did not do it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CriuError {
    /// It is not there.
    #[error("run criu: {program}; install criu, or name its program with --criu", program = .program.display())]
    Start {
        /// As named.
        program: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("criu failed: type {action}: {reason}; log file: {log}", log = .log.display())]
    Failed {
        /// dump, pre-dump or restore.
        action: &'static str,
        /// Its own last words.
        reason: String,
        /// Where it wrote more.
        log: PathBuf,
    },
    /// The container has what criu cannot be given by its command line.
    #[error("checkpoint and restore of a container with {0} are not supported")]
    Unsupported(&'static str),
    /// It was not understood, or did not understand.
    #[error("talk to criu")]
    Protocol(#[source] io::Error),
    /// A cgroup mode there is not.
    #[error("Invalid manage cgroups mode")]
    CgroupMode,
}

/// A file of options that is there.
struct Config {
    path: PathBuf,
    text: String,
}

impl Config {
    /// The container's. A file that cannot be read is none, as with runc.
    fn of(annotations: &HashMap<String, String>) -> Option<Self> {
        let path = annotations.get(CONFIG_ANNOTATION);
        let path = PathBuf::from(path.map_or(CONFIG, String::as_str));
        let text = fs::read_to_string(&path).ok()?;
        Some(Self { path, text })
    }

    /// Whether it sets an option: a name at the beginning of a line, without dashes (criu(8), "Configuration files").
    fn says(&self, option: &str) -> bool {
        let mut lines = self.text.lines();
        lines.any(|line| {
            let rest = line.trim_start().strip_prefix(option);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '=']))
        })
    }
}

/// A call of criu.
pub(crate) struct Criu {
    words: Vec<(String, Option<OsString>)>,
    action: &'static str,
    log: PathBuf,
    program: PathBuf,
    by_protocol: bool,
    config: Option<PathBuf>,
}

impl Criu {
    /// Prepares `action` for a container. `rootfs` is its root on the host.
    pub(crate) fn new(
        action: &'static str,
        options: &CriuOptions,
        spec: &Spec,
        rootfs: &Path,
        annotations: &HashMap<String, String>,
    ) -> Result<Self, CriuError> {
        if !["soft", "full", "strict", "ignore"].contains(&options.cgroups.as_str()) {
            return Err(CriuError::CgroupMode);
        }
        let work = options.work.as_ref().unwrap_or(&options.images);
        let log = if action == "restore" {
            "restore.log"
        } else {
            "dump.log"
        };
        let by_protocol = terminal(spec);
        let config = Config::of(annotations);
        let mut criu = Self {
            words: Vec::new(),
            action,
            log: work.join(log),
            program: options.program.clone(),
            by_protocol,
            config: config.as_ref().map(|config| config.path.clone()),
        };
        criu.value("--images-dir", &options.images);
        criu.value("--work-dir", work);
        criu.flag(true, "-v4");
        if let (Some(config), false) = (&config, by_protocol) {
            criu.value("--config", &config.path);
        }
        // criu prefers its command line to the file; by its protocol, as runc speaks to it, the file wins
        let says = |name| !by_protocol && config.as_ref().is_some_and(|config| config.says(name));
        if !says("log-file") {
            criu.value("--log-file", log);
        }
        criu.value("--root", rootfs);
        // the devices of a network and their addresses are whoever made them's
        criu.value("--empty-ns", "net");
        let cgroups = format!("--manage-cgroups={}", options.cgroups);
        criu.flag(!says("manage-cgroups"), &cgroups);
        for (wanted, flag) in [
            (options.tcp_established, "--tcp-established"),
            (options.external_unix_sockets, "--ext-unix-sk"),
            (options.shell_job, "--shell-job"),
            (options.file_locks, "--file-locks"),
            (options.auto_dedup, "--auto-dedup"),
            (options.lazy_pages, "--lazy-pages"),
        ] {
            criu.flag(wanted, flag);
        }
        Ok(criu)
    }

    /// Adds a flag where it is wanted.
    pub(crate) fn flag(&mut self, wanted: bool, flag: &str) {
        if wanted {
            self.words.push((flag.to_owned(), None));
        }
    }

    /// Adds a flag and its value.
    pub(crate) fn value(&mut self, flag: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref().to_owned();
        self.words.push((flag.to_owned(), Some(value)));
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Result<(), CriuError> {
        // of an earlier attempt: its last words are not this one's
        let _ = fs::remove_file(&self.log);
        let conversation = self.conversation()?;
        let mut command = Command::new(&self.program);
        command.args(self.arguments(conversation.as_ref()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.stderr(Stdio::piped()).spawn();
        let child = started.map_err(|source| CriuError::Start {
            program: self.program.clone(),
            source,
        })?;
        let answer = conversation.map(Conversation::answer);
        let done = child.wait_with_output().map_err(CriuError::Protocol)?;
        let success = answer.transpose()?.is_none_or(|answer| answer.success);
        if success && done.status.success() {
            return Ok(());
        }
        Err(self.failure(done.status, &done.stderr))
    }

    /// Has criu work in its directory by name, by settings in `file`: opened here, it would be a directory of this process's mount
    /// namespace, and criu in another one could mount nothing in it.
    pub(crate) fn name_work(&mut self, file: &Path) -> Result<(), CriuError> {
        let Some(work) = self.log.parent().filter(|_| self.by_protocol) else {
            return Ok(());
        };
        let mut settings = b"work-dir \"".to_vec();
        for byte in work.as_os_str().as_bytes() {
            if b"\"\\".contains(byte) {
                settings.push(b'\\');
            }
            settings.push(*byte);
        }
        settings.extend_from_slice(b"\"\n");
        if let Some(config) = &self.config {
            // criu itself does without one that is not there
            settings.extend(fs::read(config).unwrap_or_default());
        }
        fs::write(file, settings).map_err(CriuError::Protocol)?;
        self.config = Some(file.to_owned());
        Ok(())
    }

    /// What is to be said to criu, and the socket for it; `None` when its command line does.
    pub(crate) fn conversation(&self) -> Result<Option<Conversation>, CriuError> {
        if !self.by_protocol {
            return Ok(None);
        }
        let request = Request::new(self.action, &self.words, self.config.as_deref());
        let (ours, its) = protocol::pair().map_err(CriuError::Protocol)?;
        Ok(Some(Conversation {
            request: request.map_err(CriuError::Protocol)?,
            ours,
            its,
        }))
    }

    /// criu's arguments.
    pub(crate) fn arguments(&self, conversation: Option<&Conversation>) -> Vec<OsString> {
        if let Some(conversation) = conversation {
            let socket = conversation.its.as_raw_fd().to_string();
            return vec!["swrk".into(), socket.into()];
        }
        let words = self.words.iter();
        let words = words.flat_map(|(flag, value)| [Some(OsString::from(flag)), value.clone()]);
        std::iter::once(OsString::from(self.action))
            .chain(words.flatten())
            .collect()
    }

    /// Why it ended so.
    pub(crate) fn failure(&self, status: ExitStatus, stderr: &[u8]) -> CriuError {
        let told = last_error(&self.log).or_else(|| {
            let text = String::from_utf8_lossy(stderr);
            text.lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .map(str::to_owned)
        });
        let reason = told
            .or_else(|| self.check())
            .unwrap_or_else(|| ended(status));
        CriuError::Failed {
            action: self.action,
            reason,
            log: self.log.clone(),
        }
    }

    /// What criu has against this kernel, if anything.
    fn check(&self) -> Option<String> {
        let done = Command::new(&self.program)
            // without the host's own: its log file would come to lie wherever we are
            .args(["check", "--no-default-config"])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        if done.status.success() {
            return None;
        }
        let text = String::from_utf8_lossy(&done.stderr);
        let told = text
            .lines()
            .rev()
            .find(|line| line.contains("Error"))
            .map(str::trim);
        Some(format!(
            "criu does not work on this kernel (criu check: {})",
            told.map_or_else(|| ended(done.status), str::to_owned)
        ))
    }
}

/// What is to be said to criu when it has started.
pub(crate) struct Conversation {
    request: Request,
    ours: OwnedFd,
    its: OwnedFd,
}

impl Conversation {
    /// Has criu, which has started, do it.
    pub(crate) fn answer(self) -> Result<Answer, CriuError> {
        // the end of criu is the end of the conversation
        drop(self.its);
        self.request.ask(&self.ours).map_err(CriuError::Protocol)
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with code {code}"),
        (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The last error in a log, without its time and place in criu's source.
fn last_error(log: &Path) -> Option<String> {
    let lines = BufReader::new(fs::File::open(log).ok()?).split(b'\n');
    let lines = lines.map_while(Result::ok);
    let error = lines.filter_map(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (_, told) = line.split_once(" Error (")?;
        let (_, told) = told.split_once("): ")?;
        Some(told.trim().to_owned())
    });
    // the last ones only say that it failed
    error.filter(|error| !error.contains("FAILED")).last()
}

/// Mount points of the container whose source is the host's, as criu is to know them: by their place.
pub(crate) fn host_mounts(spec: &Spec, rootfs: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut covered = Vec::new();
    let mut found = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let place = target::resolve(rootfs, mount.destination(), &covered);
        covered.push(place.clone());
        if let (true, Some(source)) = (is_bind(mount), mount.source()) {
            found.push((place, source.clone()));
        }
    }
    found
}

/// Files that are masked by /dev/null.
pub(crate) fn masked_files(spec: &Spec, mounted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let masked = spec
        .linux()
        .iter()
        .filter_map(|linux| linux.masked_paths().as_ref())
        .flatten();
    masked
        .map(PathBuf::from)
        .filter(|path| mounted(path))
        .collect()
}

/// A network namespace that somebody else made.
pub(crate) fn foreign_network(spec: &Spec) -> Option<&Path> {
    let namespaces = spec
        .linux()
        .iter()
        .filter_map(|linux| linux.namespaces().as_ref());
    let mut networks = namespaces
        .flatten()
        .filter(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    networks.next()?.path().as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_that_says_something_is_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("dump.log");
        let text = "(00.1) fine\n(00.2)      1: Error (criu/mount.c:7): mnt: No mapping for 45\n\
            (00.3) Error (criu/cr-restore.c:2537): Restoring FAILED.\n(00.4) end\n";
        fs::write(&log, text).unwrap();
        assert_eq!(last_error(&log).as_deref(), Some("mnt: No mapping for 45"));
        assert_eq!(last_error(&dir.path().join("none")), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let options = CriuOptions {
            program: "/no/such/criu".into(),
            ..CriuOptions::default()
        };
        let error = Criu::new(
            "dump",
            &options,
            &Spec::default(),
            Path::new("/"),
            &HashMap::new(),
        )
        .unwrap()
        .run()
        .unwrap_err();
        assert!(
            error.to_string().contains("/no/such/criu; install criu"),
            "{error}"
        );
    }

    #[test]
    fn only_criu_s_modes_are_taken() {
        let options = CriuOptions {
            cgroups: "hard".to_owned(),
            ..CriuOptions::default()
        };
        assert!(matches!(
            Criu::new(
                "dump",
                &options,
                &Spec::default(),
                Path::new("/"),
                &HashMap::new()
            ),
            Err(CriuError::CgroupMode)
        ));
    }

    #[test]
    fn a_file_of_options_is_the_annotations_or_runcs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("conf");
        let annotated = |value: &str| {
            let annotations = HashMap::from([(CONFIG_ANNOTATION.to_owned(), value.to_owned())]);
            Config::of(&annotations)
        };
        assert!(annotated("").is_none());
        assert!(annotated(path.to_str().unwrap()).is_none());
        std::fs::write(&path, "# log-file x\n  manage-cgroups=full\nlog-filex\n").unwrap();
        let config = annotated(path.to_str().unwrap()).unwrap();
        assert!(config.says("manage-cgroups"));
        assert!(!config.says("log-file"));
    }
}
