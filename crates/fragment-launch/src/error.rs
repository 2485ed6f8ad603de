//! What can go wrong between a bundle and a running container.

use std::fmt;
use std::io;
use std::path::PathBuf;

use fragment_cgroup::CgroupError;
use fragment_compose::ComposeError;
use thiserror::Error;

use libcontainer::oci_spec::runtime::Spec;

use crate::checkpoint::criu::CriuError;
use crate::creation::capture::Event;
use crate::creation::diagnosis;
use crate::creation::hook_run::HookError;
use crate::creation::user_namespace::UserNamespaceError;
use crate::inside::deferred::DeferredError;
use crate::inside::dev::DevError;
use crate::joining::admission::SubCgroupError;
use crate::joining::tenant::TenantError;
use crate::records::state::Status;
use crate::specification::bundle::BundleError;
use crate::specification::derived::DeriveError;

/// A failed operation on a container. The words engines look for stand in the messages as runc writes them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The bundle cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle asks for what cannot be done.
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// The user namespace cannot be had.
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
    /// A mount that is ours to make.
    #[error(transparent)]
    Deferred(#[from] DeferredError),
    /// A device that is ours to make.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// The overlay cannot be made ready.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The container cannot have the cgroup or the limits it asks for.
    #[error("unable to apply cgroup configuration")]
    ApplyCgroup(#[source] CgroupError),
    /// An operation on the cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The name is taken.
    #[error("container with given ID already exists: {id}")]
    Exists {
        /// The name.
        id: String,
    },
    /// No container of that name.
    #[error("container does not exist: {id}")]
    Missing {
        /// The name.
        id: String,
    },
    /// Somebody else holds the container's lock.
    #[error(
        "container {id} is being created or deleted by another process; try again when that has ended"
    )]
    Busy {
        /// The name.
        id: String,
    },
    /// The container is not in a state the operation allows.
    #[error("{}", refusal(.operation, .id, *.status))]
    Status {
        /// start, delete, …
        operation: &'static str,
        /// The name.
        id: String,
        /// What it is instead.
        status: Status,
    },
    /// Nobody listens where a filter's listener is to be sent.
    #[error("failed to connect with seccomp agent: dial unix {path}", path = .path.display())]
    Agent {
        /// linux.seccomp.listenerPath.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// The first process ended while it waited for the start.
    #[error(
        "container {id} ended before its program started, with code {code} (128 and more: a signal's number); a seccomp \
         filter that forbids what the runtime itself needs does that"
    )]
    EndedEarly {
        /// The name.
        id: String,
        /// The exit code.
        code: i32,
    },
    /// kill of a container that has ended.
    #[error("container not running: {id}")]
    NotRunning {
        /// The name.
        id: String,
    },
    /// resume of a container that is not paused.
    #[error("container not paused: {id}")]
    NotPaused {
        /// The name.
        id: String,
    },
    /// libcontainer could not create the container or the process in it.
    #[error("unable to start container process")]
    Process {
        /// What happened, from the process that met it where that is known.
        #[source]
        source: ContainerSide,
    },
    /// A hook that must succeed did not.
    #[error("error running {stage} hook {path}")]
    Hook {
        /// poststart, …
        stage: &'static str,
        /// The program.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: HookError,
    },
    /// A terminal is asked for and nowhere to send it.
    #[error("cannot allocate tty if the runtime will detach without setting console socket")]
    ConsoleMissing,
    /// A console socket is given and no terminal to send.
    #[error("cannot use console socket if the runtime will not detach or allocate tty")]
    ConsoleUnused,
    /// A descriptor to pass on is not open.
    #[error("unable to preserve fd {fd}: it is not open; --preserve-fds N passes 3 up to 3+N-1 on")]
    PreservedFd {
        /// Its number.
        fd: i32,
    },
    /// exec in a container that does not run.
    #[error("cannot exec in a {status} container{}", .status.exec_remedy())]
    Exec {
        /// What it is instead.
        status: Status,
    },
    /// checkpoint of a container that does not run.
    #[error("Container cannot be checkpointed in {status} state")]
    Checkpoint {
        /// What it is instead.
        status: Status,
    },
    /// checkpoint's parent is not relative to its images.
    #[error("--parent-path must be relative")]
    ParentPath,
    /// criu did not do its work.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// What lies beside images is not what checkpoint wrote.
    #[error("{path} is damaged", path = .path.display())]
    Images {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// exec could not start its process.
    #[error("unable to start container process")]
    Tenant(#[from] TenantError),
    /// exec's cgroup is none of the container's.
    #[error("unable to start container process")]
    SubCgroup(#[from] SubCgroupError),
    /// A file-system or process operation of the runtime itself.
    #[error("{operation} {path}", path = .path.display())]
    Io {
        /// A verb: "write record", …
        operation: &'static str,
        /// Of what.
        path: PathBuf,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A system call without a path.
    #[error("{operation}")]
    System {
        /// A verb.
        operation: &'static str,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// A record that is not what we wrote.
    #[error("record {path} is damaged; remove the container with delete --force", path = .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The processes of the container did not end in time.
    #[error("container {id} still has processes after SIGKILL; see its cgroup and try again")]
    Unkillable {
        /// The name.
        id: String,
    },
}

impl LaunchError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}

/// Why an operation is refused in this state, in runc's words.
fn refusal(operation: &str, id: &str, status: Status) -> String {
    match (operation, status) {
        ("start", Status::Stopped) => format!("cannot start a container that has stopped: {id}"),
        ("start", Status::Running) => format!("cannot start an already running container: {id}"),
        ("delete", status) => format!(
            "cannot delete container {id} that is not stopped: {status}{}",
            status.remedy()
        ),
        (operation, status) => format!("cannot {operation} a {status} container: {id}"),
    }
}

/// An error of libcontainer with what its processes on the container's side reported while it happened.
///
/// libcontainer sends one flattened line up from the container; its log events carry path and errno. Where an event exists
/// it is the cause, and libcontainer's own line is what it was doing.
#[derive(Debug)]
pub struct ContainerSide {
    message: String,
}

impl ContainerSide {
    pub(crate) fn new(
        error: &libcontainer::error::LibcontainerError,
        events: &[Event],
        spec: Option<&Spec>,
    ) -> Self {
        // our executor's own message needs nothing around it: it is what engines look for
        if let Some(own) = events.iter().find(|event| event.is_ours()) {
            return Self {
                message: own.message.clone(),
            };
        }
        let explained = events
            .iter()
            .find_map(|event| diagnosis::explain(&event.message, spec?));
        if let Some(message) = explained {
            return Self { message };
        }
        let mut message = chain(error);
        if let Some(cause) = events
            .first()
            .filter(|cause| !message.contains(&cause.message))
        {
            message = format!("{message}: {}", cause.message);
        }
        Self { message }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

impl fmt::Display for ContainerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ContainerSide {}
