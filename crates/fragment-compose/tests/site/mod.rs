//! A bundle, components and a state directory to try compositions on.

#![allow(dead_code, reason = "not every battery needs all of it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fragment_compose::{ComposeError, Composition, Inputs, KernelVersion, Prepared, compose};
use fragment_types::manifest::Size;
use fragment_types::plan::{Layer, Reason};
use fragment_types::{ComponentName, Digest};
use tempfile::TempDir;

use crate::private::mount_prepared;

/// A bundle, component trees and a scratch directory.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) layers: Vec<Layer>,
    pub(crate) readonly: bool,
    pub(crate) mount_targets: Vec<String>,
    pub(crate) user_namespace: bool,
}

impl Site {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["bundle/rootfs", "trees", "state", "merged"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        Self {
            directory,
            layers: Vec::new(),
            readonly: false,
            mount_targets: Vec::new(),
            user_namespace: false,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path("bundle/rootfs")
    }

    /// A component that holds `files`; those added first lie on top.
    pub(crate) fn layer(&mut self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let diff_id = Digest::of(name.as_bytes());
        let tree = self.path("trees").join(diff_id.hex());
        fs::create_dir_all(&tree).unwrap();
        for (path, content) in files {
            write(&tree, path, content);
        }
        self.layers.push(Layer {
            name: ComponentName::new(name).unwrap(),
            version: semver::Version::new(1, 0, 0),
            upstream_version: "1".to_owned(),
            digest: Digest::of(b"manifest"),
            diff_id,
            size: Size::default(),
            capabilities: std::collections::BTreeSet::new(),
            accounts: Vec::new(),
            cached: Vec::new(),
            reasons: vec![Reason::Core],
        });
        tree
    }

    pub(crate) fn core(&mut self) {
        let tree = self.layer(
            "core",
            &[("usr/bin/sh", "core's sh"), ("etc/passwd", "root")],
        );
        symlink("usr/bin", tree.join("bin")).unwrap();
        for name in ["dev", "proc", "sys"] {
            fs::create_dir(tree.join(name)).unwrap();
        }
    }

    pub(crate) fn compose_in(&self, bundle: &Path) -> Result<Composition, ComposeError> {
        self.compose_at(bundle, &self.rootfs())
    }

    pub(crate) fn compose_at(
        &self,
        bundle: &Path,
        rootfs: &Path,
    ) -> Result<Composition, ComposeError> {
        let trees = self.path("trees");
        compose(&Inputs {
            id: "container",
            bundle,
            rootfs,
            user_namespace: self.user_namespace,
            readonly: self.readonly,
            layers: &self.layers,
            tree: &|diff_id| trees.join(diff_id.hex()),
            scratch: &self.path("state"),
            mount_targets: &self.mount_targets,
        })
    }

    pub(crate) fn compose(&self) -> Result<Composition, ComposeError> {
        self.compose_in(&self.path("bundle"))
    }

    #[track_caller]
    pub(crate) fn mount(&self) -> Prepared {
        let prepared = self
            .compose()
            .unwrap()
            .prepare(&on(KernelVersion::running()))
            .unwrap();
        mount_prepared(&prepared.options, &self.path("merged")).unwrap();
        prepared
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path("merged").join(path)).ok()
    }

    /// Everything below the bundle and the state directory.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mut found = Vec::new();
        for base in ["bundle", "state"] {
            for entry in fs::read_dir(self.path(base)).unwrap() {
                found.push(format!("{base}/{}", entry.unwrap().file_name().display()));
            }
        }
        found.sort();
        found
    }
}

/// Where no user namespace is needed.
pub(crate) fn on(kernel: KernelVersion) -> fragment_compose::Site<'static> {
    fragment_compose::Site {
        kernel,
        identities: None,
        nested: false,
    }
}

pub(crate) fn write(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
