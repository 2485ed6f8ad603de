//! Components that are made on the spot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fragment::manifest::{Command, Layer, PathEntry, PathKind, Provides, Requires, SCHEMA, Size};
use fragment::store::Artifact;
use fragment::{Capability, ComponentName, Digest, Manifest};

pub(crate) fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

/// A component with one program, which nobody runs here.
pub(crate) fn component(
    directory: &Path,
    component: &str,
    command: &str,
    grants: &[&str],
) -> Artifact {
    let content = format!("{component} {command}").repeat(1000);
    let path = format!("usr/bin/{command}");
    let mut builder = tar::Builder::new(Vec::new());
    for directory in ["usr", "usr/bin"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_mode(0o755);
        header.set_size(0);
        builder
            .append_data(&mut header, format!("{directory}/"), &[][..])
            .unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    builder
        .append_data(&mut header, &path, content.as_bytes())
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let blob = zstd::encode_all(tar.as_slice(), 3).unwrap();
    let layer = directory.join(format!("{component}.layer"));
    fs::write(&layer, &blob).unwrap();
    let entry = |path: &str, kind, size, digest| PathEntry {
        path: path.to_owned(),
        kind,
        mode: 0o755,
        size,
        digest,
        target: None,
    };
    let directory = |path| entry(path, PathKind::Directory, 0, None);
    let file = format!("/{path}");
    let size = content.len() as u64;
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        name: name(component),
        version: "1.0.0".parse().unwrap(),
        upstream_version: "1".to_owned(),
        description: "a component for tests".to_owned(),
        architecture: "amd64".to_owned(),
        eol: None,
        aliases: BTreeSet::new(),
        preference: 0,
        capabilities: grants
            .iter()
            .map(|one| Capability::new(*one).unwrap())
            .collect(),
        provides: Provides {
            paths: vec![
                directory("/usr"),
                directory("/usr/bin"),
                entry(
                    &file,
                    PathKind::File,
                    size,
                    Some(Digest::of(content.as_bytes())),
                ),
            ],
            commands: vec![Command {
                name: command.to_owned(),
                path: file,
            }],
            ..Provides::default()
        },
        requires: Requires::default(),
        conflicts: BTreeSet::new(),
        accounts: Vec::new(),
        packages: Vec::new(),
        retention_seconds: 300,
        size: Size {
            plain: size,
            stored: blob.len() as u64,
            entries: 3,
        },
        layer: Layer {
            digest: Digest::of(&blob),
            diff_id: Digest::of(&tar),
        },
    };
    Artifact { manifest, layer }
}
