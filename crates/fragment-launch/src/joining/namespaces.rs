//! Joining the namespaces of a running process (namespaces(7), setns(2)).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use thiserror::Error;

use crate::records::process::{Handle, Identity};

/// The name below /proc/PID/ns, and the same for the two forms of setns(2).
type Kind = (&'static str, LinkNameSpaceType, ThreadNameSpaceType);

const KINDS: [Kind; 8] = [
    ("user", LinkNameSpaceType::User, ThreadNameSpaceType::USER),
    (
        "pid",
        LinkNameSpaceType::ProcessID,
        ThreadNameSpaceType::PROCESS_ID,
    ),
    ("time", LinkNameSpaceType::Time, ThreadNameSpaceType::TIME),
    (
        "ipc",
        LinkNameSpaceType::InterProcessCommunication,
        ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
    ),
    (
        "uts",
        LinkNameSpaceType::HostNameAndNISDomainName,
        ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
    ),
    (
        "net",
        LinkNameSpaceType::Network,
        ThreadNameSpaceType::NETWORK,
    ),
    (
        "cgroup",
        LinkNameSpaceType::ControlGroup,
        ThreadNameSpaceType::CONTROL_GROUP,
    ),
    ("mnt", LinkNameSpaceType::Mount, ThreadNameSpaceType::MOUNT),
];

/// A namespace that could not be joined.
#[derive(Debug, Error)]
#[error("join the container's {kind} namespace: {}", crate::creation::diagnosis::words(&(*.cause).into()))]
pub(crate) struct JoinError {
    kind: &'static str,
    cause: Errno,
}

/// Those namespaces of a process that are not this process's own.
#[derive(Debug)]
pub(crate) struct Namespaces {
    process: Handle,
    others: Vec<(Kind, File)>,
}

impl Namespaces {
    /// Of a process that runs; `None` when it has ended.
    pub(crate) fn of(process: Identity) -> io::Result<Option<Self>> {
        let Some(handle) = process.open()? else {
            return Ok(None);
        };
        let mut others = Vec::new();
        for kind in KINDS {
            let open = |process: &str| File::open(format!("/proc/{process}/ns/{}", kind.0));
            let (own, its) = match (open("self"), open(&process.pid.to_string())) {
                (Ok(own), Ok(its)) => (own.metadata()?, its),
                // a kernel without this kind: time namespaces are Linux 5.6
                (Err(error), _) if error.kind() == io::ErrorKind::NotFound => continue,
                (Err(error), _) => return Err(error),
                (_, Err(_)) if !process.is_alive() => return Ok(None),
                (_, Err(error)) => return Err(error),
            };
            let other = its.metadata()?;
            if (own.dev(), own.ino()) != (other.dev(), other.ino()) {
                others.push((kind, its));
            }
        }
        // what was opened was the process's own only if it still has its number
        Ok(process.is_alive().then_some(Self {
            process: handle,
            others,
        }))
    }

    /// Whether one of this name is among them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.others.iter().any(|((kind, ..), _)| *kind == name)
    }

    /// Joins them all; the PID namespace is that of children made from now on.
    pub(crate) fn join(&self) -> Result<(), JoinError> {
        let all = self
            .others
            .iter()
            .fold(ThreadNameSpaceType::empty(), |all, ((_, _, flag), _)| {
                all | *flag
            });
        if all.is_empty() {
            return Ok(());
        }
        match move_into_thread_name_spaces(self.process.as_fd(), all) {
            // before Linux 5.8 setns(2) takes no descriptor of a process
            Err(Errno::INVAL | Errno::BADF) => self.join_one_by_one(),
            Err(Errno::SRCH) => Err(JoinError {
                kind: "ended process's",
                cause: Errno::SRCH,
            }),
            // which one it was is told by trying them
            Err(_) => self.join_one_by_one(),
            Ok(()) => Ok(()),
        }
    }

    /// First what can be joined with the rights of now, then the user namespace, then what belongs to that one: a container may
    /// have been given namespaces of both owners.
    fn join_one_by_one(&self) -> Result<(), JoinError> {
        let join = |(kind, file): &(Kind, File)| {
            move_into_link_name_space(file.as_fd(), Some(kind.1)).map_err(|cause| JoinError {
                kind: kind.0,
                cause,
            })
        };
        let (user, others): (Vec<_>, Vec<_>) = self
            .others
            .iter()
            .partition(|((name, ..), _)| *name == "user");
        let mut later = Vec::new();
        for other in others {
            match join(other) {
                Err(error) if error.cause == Errno::PERM && !user.is_empty() => later.push(other),
                joined => joined?,
            }
        }
        user.into_iter().chain(later).try_for_each(join)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_its_own_namespaces() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let namespaces = Namespaces::of(own).unwrap().unwrap();
        assert!(namespaces.others.is_empty());
        assert!(!namespaces.has("user"));
        namespaces.join().unwrap();
    }

    #[test]
    fn an_ended_process_has_none() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let gone = Identity {
            start_time: own.start_time + 1,
            ..own
        };
        assert!(Namespaces::of(gone).unwrap().is_none());
    }
}
