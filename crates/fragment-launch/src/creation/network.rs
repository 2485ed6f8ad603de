//! The container's own network namespace: the kernel needs longer for it than for all the others together, so it is made while the rest of
//! the container is prepared, and libcontainer is told of it as of one to join.

use std::path::PathBuf;

use fragment_sys::network::Ahead;
use libcontainer::oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};

/// What is being made for a container already while the rest is still being decided: its network namespace. Dropped, nothing of it is left.
///
/// None where the container joins one or has the host's, nor with a user namespace, to which it belongs and in which it is made; where this
/// cannot be done, libcontainer does it.
#[derive(Debug, Default)]
pub struct Underway {
    pub(crate) network: Option<Ahead>,
}

impl Underway {
    pub(crate) fn of(spec: &Spec) -> Self {
        Self {
            network: is_new_and_the_hosts(spec)
                .then(|| Ahead::begin().ok())
                .flatten(),
        }
    }
}

fn is_new_and_the_hosts(spec: &Spec) -> bool {
    is_new(spec) && !namespaces(spec).any(|one| one.typ() == LinuxNamespaceType::User)
}

/// Whether the container's network namespace is one of its own that nobody has made yet.
pub(crate) fn is_new(spec: &Spec) -> bool {
    namespaces(spec).any(|one| one.typ() == LinuxNamespaceType::Network && one.path().is_none())
}

fn namespaces(spec: &Spec) -> impl Iterator<Item = &LinuxNamespace> {
    let linux = spec.linux().iter();
    linux.flat_map(Linux::namespaces).flatten()
}

/// Has `spec` join the namespace of this descriptor, or make one itself.
pub(crate) fn name(spec: &mut Spec, number: Option<i32>) {
    let Some(linux) = spec.linux_mut() else {
        return;
    };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in &mut namespaces {
        if namespace.typ() == LinuxNamespaceType::Network {
            namespace
                .set_path(number.map(|number| PathBuf::from(format!("/proc/self/fd/{number}"))));
        }
    }
    linux.set_namespaces(Some(namespaces));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(namespaces: &str) -> Spec {
        let text = format!(r#"{{"ociVersion":"1.2.0","linux":{{"namespaces":[{namespaces}]}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_one_that_is_the_containers_own_and_the_hosts_is_made_ahead() {
        let is = |namespaces| is_new_and_the_hosts(&spec(namespaces));
        assert!(is(r#"{"type":"mount"},{"type":"network"}"#));
        assert!(!is(r#"{"type":"mount"}"#));
        assert!(!is(r#"{"type":"network","path":"/proc/self/ns/net"}"#));
        assert!(!is(r#"{"type":"network"},{"type":"user"}"#));
        let nothing = serde_json::from_str(r#"{"ociVersion":"1.2.0"}"#).unwrap();
        assert!(!is_new_and_the_hosts(&nothing));
    }

    #[test]
    fn it_is_named_and_forgotten() {
        let before = spec(r#"{"type":"mount"},{"type":"network"}"#);
        let mut named = before.clone();
        name(&mut named, Some(7));
        let path = r#"{"type":"network","path":"/proc/self/fd/7"}"#;
        assert_eq!(named, spec(&format!(r#"{{"type":"mount"}},{path}"#)));
        name(&mut named, None);
        assert_eq!(named, before);
    }
}
