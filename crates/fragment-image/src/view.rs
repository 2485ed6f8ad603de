//! Where a path leads in a tree of which only names, kinds and link targets are known.

use fragment_types::manifest::{PathEntry, PathKind};
use fragment_types::path::merged_usr;

use crate::inventory::{Node, NodeKind};

/// How many links the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Directory,
    Link(String),
    Other,
}

impl Step {
    pub(crate) fn of_node(node: &Node) -> Self {
        match &node.kind {
            NodeKind::Directory => Self::Directory,
            NodeKind::Symlink { target } => Self::Link(target.clone()),
            NodeKind::File { .. } | NodeKind::Special { .. } => Self::Other,
        }
    }

    pub(crate) fn of_entry(entry: &PathEntry) -> Self {
        match (entry.kind, &entry.target) {
            (PathKind::Directory, _) => Self::Directory,
            (PathKind::Symlink, Some(target)) => Self::Link(target.clone()),
            _ => Self::Other,
        }
    }
}

/// A tree by its look-up.
#[derive(Debug)]
pub(crate) struct View<F> {
    look_up: F,
}

impl<F: Fn(&str) -> Option<Step>> View<F> {
    pub(crate) fn new(look_up: F) -> Self {
        Self { look_up }
    }

    /// The merged-/usr path that `path` leads to, if anything is there.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        let mut todo: Vec<String> = parts(&merged_usr(path));
        let mut done = String::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = merged_usr(&format!("{done}/{name}")).into_owned();
            match (self.look_up)(&next)? {
                Step::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(parts(&target));
                }
                // only the last may be no directory
                Step::Other if !todo.is_empty() => return None,
                Step::Directory | Step::Other => done = next,
            }
        }
        Some(if done.is_empty() {
            "/".to_owned()
        } else {
            done
        })
    }
}

fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').rev();
    parts
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_inside() {
        let view = View::new(|path: &str| match path {
            "/etc" | "/usr" | "/usr/bin" | "/etc/alternatives" => Some(Step::Directory),
            "/bin" => Some(Step::Link("usr/bin".to_owned())),
            "/usr/bin/awk" => Some(Step::Link("/etc/alternatives/awk".to_owned())),
            "/etc/alternatives/awk" => Some(Step::Link("../../../bin/mawk".to_owned())),
            "/usr/bin/mawk" => Some(Step::Other),
            "/usr/bin/loop" => Some(Step::Link("loop".to_owned())),
            _ => None,
        });
        for (path, expected) in [
            ("/usr/bin/awk", Some("/usr/bin/mawk")),
            ("/bin/awk", Some("/usr/bin/mawk")),
            ("/bin", Some("/usr/bin")),
            ("/usr/bin/loop", None),
            ("/usr/bin/mawk/x", None),
            ("/usr/bin/gone", None),
            ("/..", Some("/")),
        ] {
            assert_eq!(view.resolve(path).as_deref(), expected, "{path}");
        }
    }
}
