//! Namespaces of others that a container with a user namespace joins.
//!
//! libcontainer joins them after the user namespace, in which it has no right to what belongs to the host or to another
//! container. So the process that becomes the container joins them first, while it still has the caller's rights, as with runc,
//! and libcontainer is not told of them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::thread::LinkNameSpaceType;

use crate::creation::identities;
use crate::error::LaunchError;

/// Open namespaces and what each is of.
pub(crate) type Namespaces = Vec<(File, LinkNameSpaceType)>;

/// What is to be joined, and what libcontainer would have checked against it.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    namespaces: Namespaces,
    /// `linux.sysctl`, for our executor.
    pub(crate) sysctls: Vec<(String, String)>,
}

impl Joined {
    /// Takes such namespaces out of the specification.
    pub(crate) fn take_from(spec: &mut Spec) -> Result<Self, LaunchError> {
        let mut joined = Self::default();
        let Some(mut linux) = spec.linux().clone() else {
            return Ok(joined);
        };
        let list = linux.namespaces().clone().unwrap_or_default();
        let has_users = list
            .iter()
            .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
        if !has_users || !identities::may_map() {
            return Ok(joined);
        }
        let mut left = Vec::new();
        for namespace in list {
            match outside(&namespace) {
                Some((path, kind)) => {
                    let file = File::open(path).map_err(LaunchError::io("open", path))?;
                    joined.namespaces.push((file, kind));
                    if kind == LinkNameSpaceType::HostNameAndNISDomainName {
                        spec.set_hostname(None).set_domainname(None);
                    }
                }
                None => left.push(namespace),
            }
        }
        if !joined.namespaces.is_empty() {
            joined.sysctls = linux.sysctl().clone().into_iter().flatten().collect();
            linux.set_sysctl(None);
            linux.set_namespaces(Some(left));
            spec.set_linux(Some(linux));
        }
        Ok(joined)
    }

    /// The way in, for a process that has still the caller's rights.
    pub(crate) fn namespaces(&mut self) -> Namespaces {
        std::mem::take(&mut self.namespaces)
    }
}

/// Moves the calling process.
pub(crate) fn enter(namespaces: &[(File, LinkNameSpaceType)]) -> io::Result<()> {
    for (file, kind) in namespaces {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(*kind))?;
    }
    Ok(())
}

fn outside(namespace: &LinuxNamespace) -> Option<(&Path, LinkNameSpaceType)> {
    let path = namespace.path().as_deref()?;
    let kind = match namespace.typ() {
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        _ => return None,
    };
    Some((path, kind))
}

/// Sets a kernel parameter inside the container (proc_sys(5)).
pub(crate) fn set_sysctl(key: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new("/proc/sys").join(key.replace('.', "/")), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_with_a_user_namespace_of_its_own() {
        let spec = |namespaces: &str| -> Spec {
            let text = format!(
                r#"{{"ociVersion":"1.2.0","hostname":"h","linux":{{"sysctl":{{"net.a":"1"}},"namespaces":[{namespaces}]}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let network = r#"{"type":"network","path":"/proc/self/ns/net"}"#;
        let mut plain = spec(network);
        let before = plain.clone();
        assert!(Joined::take_from(&mut plain).unwrap().namespaces.is_empty());
        assert_eq!(plain, before);
        if identities::may_map() {
            let mut mapped = spec(&format!(r#"{{"type":"user"}},{network}"#));
            let joined = Joined::take_from(&mut mapped).unwrap();
            assert_eq!(joined.namespaces.len(), 1);
            assert_eq!(joined.sysctls, [("net.a".to_owned(), "1".to_owned())]);
            let linux = mapped.linux().as_ref().unwrap();
            assert_eq!(linux.namespaces().as_ref().unwrap().len(), 1);
        }
    }
}
