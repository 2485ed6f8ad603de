//! A command to run that need not exist anywhere but in the library.

mod document;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use fragment_analysis::DEFAULT_PATH;

/// The Linux capabilities of a task, permitted, effective and bounding: what docker and podman leave a container, less
/// `CAP_MKNOD` and `CAP_AUDIT_WRITE`.
pub const LINUX_CAPABILITIES: [&str; 12] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Microseconds of which a share is given (sched-bwc, the kernel's default).
const CPU_PERIOD: u64 = 100_000;

/// A command with its circumstances. It becomes a bundle whose rootfs is empty.
///
/// ```
/// use std::time::Duration;
///
/// use fragment::Task;
/// use fragment::task::{Priority, TaskLimits};
///
/// # fn main() -> Result<(), fragment::task::TaskError> {
/// let limits = TaskLimits {
///     memory: Some(64_000_000),
///     processes: Some(10),
///     cpus: Some(0.5),
/// };
/// let task = Task::new(["sh", "-c", "echo $A"])?
///     .env("A=1")?
///     .workdir("/srv")?
///     .timeout(Duration::from_secs(30))
///     .priority(Priority::Low)
///     .limits(limits)?;
/// // the same as a line of a batch
/// let line = r#"{"command": ["sh", "-c", "echo $A"], "env": {"A": "1"}, "workdir": "/srv", "timeout": "30s",
///     "priority": "low", "limits": {"memory": "64MB", "processes": 10, "cpus": 0.5}}"#;
/// assert_eq!(Task::from_json(line)?, task);
/// assert!(Task::new(["sh"])?.workdir("srv").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Command and arguments; never empty.
    argv: Vec<String>,
    env: Vec<String>,
    workdir: String,
    timeout: Option<Duration>,
    priority: Priority,
    network: Network,
    limits: TaskLimits,
}

/// What a task may take at most; nothing said is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Processors, as 0.5 or 2.
    pub cpus: Option<f64>,
}

/// How much of a busy machine a task gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// A quarter of the normal CPU weight, nice 10, I/O best effort 7.
    Low,
    /// The default weight (1024 CPU shares), nice 0, the I/O priority that nice gives.
    #[default]
    Normal,
    /// Four times the normal weight, nice -5, I/O best effort 2.
    High,
    /// Sixteen times the normal weight, nice -10, I/O best effort 0.
    Critical,
}

/// Which network a task sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A network of its own with nothing but a loopback.
    #[default]
    None,
    /// The host's network.
    Host,
    /// An existing network namespace.
    Namespace(PathBuf),
}

/// A task that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No command.
    #[error("no command given: `fragment run -- COMMAND ARGS…`")]
    NoCommand,
    /// A variable without a name.
    #[error("environment variable `{0}` is not of the form NAME=VALUE")]
    BadVariable(String),
    /// A working directory that is not absolute.
    #[error("working directory `{0}` is not an absolute path")]
    RelativeWorkdir(String),
    /// A text with a NUL byte, which no system call can carry.
    #[error("{0} holds a NUL byte")]
    Nul(&'static str),
    /// A limit that nothing could run in.
    #[error("{what} of {value} is no limit that a task can run in: {hint}")]
    BadLimit {
        /// `memory`, `processes` or `cpus`.
        what: &'static str,
        /// As given.
        value: String,
        /// What would be right.
        hint: &'static str,
    },
    /// A document that is not one of a task.
    #[error("this is not a task: {0}")]
    Document(String),
    /// A word that is none of the choices.
    #[error("`{text}` is not a {what}: use {choices}")]
    BadChoice {
        /// `priority` or `network`.
        what: &'static str,
        /// The word.
        text: String,
        /// The choices.
        choices: &'static str,
    },
}

impl Task {
    /// A task that runs `argv` (command first, looked up in `PATH` unless it has a slash).
    ///
    /// # Errors
    /// [`TaskError::NoCommand`] for an empty `argv` or an empty command.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Result<Self, TaskError> {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        if argv.first().is_none_or(String::is_empty) {
            return Err(TaskError::NoCommand);
        }
        if argv.iter().any(|word| word.contains('\0')) {
            return Err(TaskError::Nul("the command line"));
        }
        Ok(Self {
            argv,
            env: Vec::new(),
            workdir: "/".to_owned(),
            timeout: None,
            priority: Priority::Normal,
            network: Network::None,
            limits: TaskLimits::default(),
        })
    }

    /// Adds a variable, `NAME=VALUE`; a later one of the same name wins.
    ///
    /// # Errors
    /// [`TaskError::BadVariable`] when there is no `=` or no name.
    pub fn env(mut self, variable: impl Into<String>) -> Result<Self, TaskError> {
        let variable = variable.into();
        match variable.split_once('=') {
            Some((name, _)) if !name.is_empty() && !variable.contains('\0') => {
                self.env
                    .retain(|other| other.split('=').next() != Some(name));
                self.env.push(variable);
                Ok(self)
            }
            _ => Err(TaskError::BadVariable(variable)),
        }
    }

    /// Sets the working directory (absolute; created when nobody provides it).
    ///
    /// # Errors
    /// [`TaskError::RelativeWorkdir`].
    pub fn workdir(mut self, workdir: impl Into<String>) -> Result<Self, TaskError> {
        let workdir = workdir.into();
        if !workdir.starts_with('/') {
            return Err(TaskError::RelativeWorkdir(workdir));
        }
        if workdir.contains('\0') {
            return Err(TaskError::Nul("the working directory"));
        }
        self.workdir = workdir;
        Ok(self)
    }

    /// Kills the task after `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets what it may take at most.
    ///
    /// # Errors
    /// [`TaskError::BadLimit`] for less than 64 KiB of memory, no process, and processors below 0.01 or above 10,000.
    pub fn limits(mut self, limits: TaskLimits) -> Result<Self, TaskError> {
        let bad = |what, value: &dyn ToString, hint| TaskError::BadLimit {
            what,
            value: value.to_string(),
            hint,
        };
        if let Some(memory) = limits
            .memory
            .filter(|bytes| !(64 << 10..1 << 62).contains(bytes))
        {
            return Err(bad("memory", &memory, "give 64 KiB at least, as 64MB"));
        }
        if let Some(processes) = limits.processes.filter(|number| *number == 0) {
            return Err(bad("processes", &processes, "give 1 at least"));
        }
        if let Some(cpus) = limits.cpus.filter(|cpus| !(0.01..=10_000.0).contains(cpus)) {
            return Err(bad("cpus", &cpus, "give a number such as 0.5 or 2"));
        }
        self.limits = limits;
        Ok(self)
    }

    /// Command and arguments.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// The variables that were set, `NAME=VALUE`.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.env
    }

    /// The working directory.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.workdir
    }

    /// How much of a busy machine it gets.
    #[must_use]
    pub fn importance(&self) -> Priority {
        self.priority
    }

    /// What it may take at most.
    #[must_use]
    pub fn limited_to(&self) -> TaskLimits {
        self.limits
    }

    /// The time after which it is killed.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// The network it sees.
    #[must_use]
    pub fn sees(&self) -> &Network {
        &self.network
    }

    /// The variables with the defaults filled in.
    fn full_env(&self) -> Vec<String> {
        let has = |name: &str| {
            self.env
                .iter()
                .any(|variable| variable.split('=').next() == Some(name))
        };
        let mut env = self.env.clone();
        if !has("PATH") {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        if !has("HOME") {
            env.push("HOME=/root".to_owned());
        }
        env
    }

    /// What analysis reads of it.
    #[must_use]
    pub fn subject(&self) -> fragment_analysis::Task {
        fragment_analysis::Task {
            argv: self.argv.clone(),
            env: self.full_env(),
            cwd: self.workdir.clone(),
            uid: 0,
            gid: 0,
            terminal: false,
        }
    }

    /// The `config.json` of its bundle, whose rootfs is the directory `rootfs` beside it.
    #[must_use]
    pub fn config(&self) -> Value {
        let mut namespaces = vec![
            json!({"type": "pid"}),
            json!({"type": "ipc"}),
            json!({"type": "uts"}),
            json!({"type": "mount"}),
            json!({"type": "cgroup"}),
        ];
        match &self.network {
            Network::None => namespaces.push(json!({"type": "network"})),
            Network::Host => {}
            Network::Namespace(path) => namespaces.push(json!({"type": "network", "path": path})),
        }
        let mut config = json!({
            "ociVersion": "1.0.2",
            "hostname": "fragment",
            "root": {"path": "rootfs", "readonly": false},
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": self.argv,
                "env": self.full_env(),
                "cwd": self.workdir,
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": LINUX_CAPABILITIES,
                    "effective": LINUX_CAPABILITIES,
                    "permitted": LINUX_CAPABILITIES,
                },
                "scheduler": {"policy": "SCHED_OTHER", "nice": self.priority.nice()},
            },
            "mounts": self.mounts(),
            "linux": {
                "namespaces": namespaces,
                "resources": {
                    "devices": [{"allow": false, "access": "rwm"}],
                    "cpu": {"shares": self.priority.cpu_shares()},
                },
                "maskedPaths": [
                    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
                ],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        });
        if let Some(priority) = self.priority.io() {
            config["process"]["ioPriority"] =
                json!({"class": "IOPRIO_CLASS_BE", "priority": priority});
        }
        let resources = &mut config["linux"]["resources"];
        if let Some(memory) = self.limits.memory {
            resources["memory"] = json!({"limit": memory});
        }
        if let Some(processes) = self.limits.processes {
            resources["pids"] = json!({"limit": processes});
        }
        if let Some(cpus) = self.limits.cpus {
            resources["cpu"]["period"] = json!(CPU_PERIOD);
            // at least the least that the kernel takes
            let quota = (cpus * CPU_PERIOD as f64) as u64;
            resources["cpu"]["quota"] = json!(quota.max(1000));
        }
        config
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = default_mounts();
        if self.network != Network::None {
            // names resolve as they do for the host's programs
            for file in ["/etc/resolv.conf", "/etc/hosts"] {
                if std::path::Path::new(file).exists() {
                    mounts.push(json!({"destination": file, "type": "bind", "source": file,
                        "options": ["bind", "ro", "nosuid", "nodev", "noexec"]}));
                }
            }
        }
        mounts
    }
}

/// The file systems every container has, as runc's specification writes them, but for its control groups.
#[must_use]
pub fn default_mounts() -> Vec<Value> {
    vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]}),
    ]
}

impl Priority {
    /// CPU weight in cgroup v1 shares (1024 is the default).
    fn cpu_shares(self) -> u64 {
        match self {
            Self::Low => 256,
            Self::Normal => 1024,
            Self::High => 4096,
            Self::Critical => 16384,
        }
    }

    /// Priority of the class best effort, 0 the highest (ioprio_set(2)).
    fn io(self) -> Option<u8> {
        match self {
            Self::Low => Some(7),
            Self::Normal => None,
            Self::High => Some(2),
            Self::Critical => Some(0),
        }
    }

    fn nice(self) -> i32 {
        match self {
            Self::Low => 10,
            Self::Normal => 0,
            Self::High => -5,
            Self::Critical => -10,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Namespace(path) => write!(f, "ns:{}", path.display()),
        }
    }
}

impl FromStr for Priority {
    type Err = TaskError;

    fn from_str(text: &str) -> Result<Self, TaskError> {
        match text {
            "low" => Ok(Self::Low),
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(TaskError::BadChoice {
                what: "priority",
                text: text.to_owned(),
                choices: "low, normal, high or critical",
            }),
        }
    }
}

impl FromStr for Network {
    type Err = TaskError;

    fn from_str(text: &str) -> Result<Self, TaskError> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => match text.strip_prefix("ns:") {
                Some(path) if path.starts_with('/') => Ok(Self::Namespace(path.into())),
                _ => Err(TaskError::BadChoice {
                    what: "network",
                    text: text.to_owned(),
                    choices: "none, host or ns:/PATH of a network namespace",
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_system_call_could_carry_out() {
        assert!(matches!(
            Task::new(Vec::<String>::new()),
            Err(TaskError::NoCommand)
        ));
        assert!(matches!(Task::new([""]), Err(TaskError::NoCommand)));
        assert!(matches!(Task::new(["a\0b"]), Err(TaskError::Nul(_))));
        let task = || Task::new(["true"]).unwrap();
        for variable in ["", "A", "=b", "A=\0"] {
            assert!(
                matches!(task().env(variable), Err(TaskError::BadVariable(_))),
                "{variable:?}"
            );
        }
        assert!(matches!(
            task().workdir("srv"),
            Err(TaskError::RelativeWorkdir(_))
        ));
        assert!(
            "urgent"
                .parse::<Priority>()
                .unwrap_err()
                .to_string()
                .contains("urgent")
        );
        assert!(
            "ns:x"
                .parse::<Network>()
                .unwrap_err()
                .to_string()
                .contains("ns:x")
        );
    }

    #[test]
    fn limits_and_priority_become_settings_of_the_container() {
        let limits = TaskLimits {
            memory: Some(64 << 20),
            processes: Some(10),
            cpus: Some(0.5),
        };
        let task = Task::new(["true"]).unwrap().limits(limits).unwrap();
        let config = task.priority(Priority::Low).config();
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 64 << 20);
        assert_eq!(resources["pids"]["limit"], 10);
        assert_eq!(
            resources["cpu"],
            json!({"shares": 256, "period": 100_000, "quota": 50_000})
        );
        assert_eq!(config["process"]["ioPriority"]["priority"], 7);
        for (memory, processes, cpus, what) in [
            (Some(1), None, None, "memory"),
            (None, Some(0), None, "processes"),
            (None, None, Some(0.0), "cpus"),
            (None, None, Some(f64::NAN), "cpus"),
        ] {
            let limits = TaskLimits {
                memory,
                processes,
                cpus,
            };
            let error = Task::new(["true"]).unwrap().limits(limits).unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        }
    }

    #[test]
    fn the_last_variable_of_a_name_wins_and_defaults_fill_in() {
        let task = Task::new(["true"])
            .unwrap()
            .env("A=1")
            .unwrap()
            .env("PATH=/x")
            .unwrap()
            .env("A=2")
            .unwrap();
        assert_eq!(task.full_env(), ["PATH=/x", "A=2", "HOME=/root"]);
    }

    #[test]
    fn a_task_has_no_network_unless_it_asks() {
        let types = |task: Task| {
            task.config()["linux"]["namespaces"]
                .as_array()
                .unwrap()
                .iter()
                .map(|namespace| namespace["type"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let task = Task::new(["true"]).unwrap();
        assert!(types(task.clone()).contains(&"network".to_owned()));
        assert!(!types(task.network(Network::Host)).contains(&"network".to_owned()));
    }
}
