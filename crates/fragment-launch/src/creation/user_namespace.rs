//! New user namespaces and their mappings.
//!
//! libcontainer leaves mappings to newuidmap(1) as soon as there are two of them, and newuidmap asks /etc/subuid even for root; for
//! root of a user namespace that an engine made (podman without root) it also forbids setgroups(2). So root makes the namespace
//! here, writes the mappings itself and has libcontainer join it.
//!
//! Other users' namespaces are made by libcontainer, which has newuidmap and newgidmap write what the user may not.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use fragment_sys::user_namespace::Keeper;
use libcontainer::oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType, Process,
};
use thiserror::Error;

/// Why a container cannot have its user namespace. The words of the first ones are runc's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UserNamespaceError {
    /// The user is not root and asks for a container that is.
    #[error("rootless container requires user namespaces")]
    Required,
    /// A namespace in which nobody is anybody.
    #[error("rootless containers requires at least one {0} mapping")]
    Unmapped(&'static str),
    /// Joining needs rights over the namespace, which libcontainer does not look for.
    #[error("joining the user namespace {path} needs root", path = .0.display())]
    Join(PathBuf),
    /// setgroups(2) is forbidden where the mappings were written without rights (user_namespaces(7)).
    #[error("cannot set any additional groups in a rootless container")]
    Groups,
    /// One id that is not the user's own: newuidmap(1) is only asked for more than one.
    #[error("mapping only the id {0}, which is not the user's own, is not supported without root")]
    Foreign(u32),
    /// clone(2).
    #[error("create a user namespace")]
    Create(#[source] io::Error),
    /// The kernel does not take a mapping.
    #[error("write {path}: {text:?}", path = .path.display())]
    Write {
        /// uid_map or gid_map.
        path: PathBuf,
        /// What was to be written.
        text: String,
        /// The errno.
        #[source]
        source: io::Error,
    },
}

/// Makes what `linux` asks for, and tells libcontainer about it there. The file, if any, has to stay open until libcontainer has
/// joined it.
pub(crate) fn arrange(
    linux: &mut Linux,
    process: &Process,
) -> Result<Option<File>, UserNamespaceError> {
    let root = rustix::process::geteuid().is_root();
    match user_namespace(linux).map(|namespace| namespace.path().clone()) {
        None | Some(Some(_)) if root => return Ok(None),
        None => return Err(UserNamespaceError::Required),
        Some(Some(path)) => return Err(UserNamespaceError::Join(path)),
        Some(None) => {}
    }
    let uids = mappings(linux.uid_mappings().as_ref(), "UID")?;
    let gids = mappings(linux.gid_mappings().as_ref(), "GID")?;
    if root {
        let file = made(&uids, &gids)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        if let Some(namespace) = user_namespace(linux) {
            namespace.set_path(Some(path.into()));
        }
        return Ok(Some(file));
    }
    let groups = process.user().additional_gids().as_ref();
    if groups.is_some_and(|groups| !groups.is_empty()) {
        return Err(UserNamespaceError::Groups);
    }
    let uids = for_newuidmap(uids, rustix::process::geteuid().as_raw())?;
    let gids = for_newuidmap(gids, rustix::process::getegid().as_raw())?;
    linux
        .set_uid_mappings(Some(uids))
        .set_gid_mappings(Some(gids));
    Ok(None)
}

fn user_namespace(linux: &mut Linux) -> Option<&mut LinuxNamespace> {
    let namespaces = linux.namespaces_mut().as_mut()?;
    let mut namespaces = namespaces.iter_mut();
    namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

fn mappings(
    given: Option<&Vec<LinuxIdMapping>>,
    kind: &'static str,
) -> Result<Vec<LinuxIdMapping>, UserNamespaceError> {
    match given {
        Some(given) if !given.is_empty() => Ok(given.clone()),
        _ => Err(UserNamespaceError::Unmapped(kind)),
    }
}

/// A new namespace with these mappings.
pub(crate) fn made(
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<File, UserNamespaceError> {
    let keeper = Keeper::new().map_err(UserNamespaceError::Create)?;
    for (name, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let path = PathBuf::from(format!("/proc/{}/{name}", keeper.pid()));
        let text = table(mappings);
        // the whole of it in one write (user_namespaces(7))
        fs::write(&path, &text).map_err(|source| UserNamespaceError::Write {
            path,
            text,
            source,
        })?;
    }
    keeper.namespace().map_err(UserNamespaceError::Create)
}

fn table(mappings: &[LinuxIdMapping]) -> String {
    let lines = mappings.iter().map(|mapping| {
        format!(
            "{} {} {}\n",
            mapping.container_id(),
            mapping.host_id(),
            mapping.size()
        )
    });
    lines.collect()
}

/// libcontainer asks newuidmap(1) only for more than one mapping; one that needs it is cut in two.
fn for_newuidmap(
    mappings: Vec<LinuxIdMapping>,
    own: u32,
) -> Result<Vec<LinuxIdMapping>, UserNamespaceError> {
    let [only] = mappings[..] else {
        return Ok(mappings);
    };
    match only.size() {
        1 if only.host_id() == own => Ok(mappings),
        0 | 1 => Err(UserNamespaceError::Foreign(only.host_id())),
        size => {
            let part = |from: u32, size: u32| {
                let builder = LinuxIdMappingBuilder::default()
                    .container_id(only.container_id().saturating_add(from))
                    .host_id(only.host_id().saturating_add(from))
                    .size(size);
                // every field is given
                builder.build().unwrap_or(only)
            };
            Ok(vec![part(0, 1), part(1, size - 1)])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        let builder = LinuxIdMappingBuilder::default();
        builder
            .container_id(container)
            .host_id(host)
            .size(size)
            .build()
            .unwrap()
    }

    #[test]
    fn a_range_is_cut_in_two_for_newuidmap() {
        let cut =
            |mappings: Vec<LinuxIdMapping>| for_newuidmap(mappings, 1000).map(|it| table(&it));
        assert_eq!(cut(vec![mapping(0, 1000, 1)]).unwrap(), "0 1000 1\n");
        assert_eq!(
            cut(vec![mapping(5, 100_000, 65_536)]).unwrap(),
            "5 100000 1\n6 100001 65535\n"
        );
        let two = vec![mapping(0, 1000, 1), mapping(1, 100_000, 10)];
        assert_eq!(cut(two).unwrap(), "0 1000 1\n1 100000 10\n");
        assert!(matches!(
            cut(vec![mapping(0, 0, 1)]),
            Err(UserNamespaceError::Foreign(0))
        ));
    }
}
