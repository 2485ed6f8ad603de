//! A loaded tree is what its layer says, to the last bit, whatever the process that loads it would make by itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use fragment_store::{Load, Store};
use fragment_types::manifest::{PathEntry, PathKind};
use fragment_types::{Digest, Manifest};
use tar::{EntryType, Header};

use crate::load::{child, leased, leftovers, said};
use crate::sample::{Packing, Place, layer_artifact};

/// One path with all that a layer says of it.
struct Wanted {
    path: String,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    what: What,
}

enum What {
    Directory,
    File(Vec<u8>),
    Symlink(&'static str),
    /// Another name of the file at this path.
    HardLink(&'static str),
}

/// Paths of every kind; owners where a user may have them. With `large`, a layer that is read beside unpacking.
fn wanted(large: bool) -> Vec<Wanted> {
    let is_root = rustix::process::geteuid().is_root();
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let mut all = Vec::new();
    let mut add = |path: &str, mode, owner, what| {
        all.push(Wanted {
            path: path.to_owned(),
            mode,
            owner: if is_root { owner } else { own },
            mtime: 1_600_000_000 + i64::from(mode),
            what,
        });
    };
    let file = |content: &str| What::File(content.as_bytes().to_vec());
    for (name, mode, owner) in [
        ("plain", 0o755, (0, 0)),
        ("closed", 0o000, (0, 0)),
        ("read-only", 0o555, (0, 0)),
        ("others", 0o700, (1234, 2345)),
        ("groups", 0o2775, (0, 2345)),
        ("sticky", 0o1777, (0, 0)),
        ("user-sticky", 0o7777, (1234, 0)),
    ] {
        add(name, mode, owner, What::Directory);
        // below every one of them, in a directory that is left and entered again
        for (file_name, mode, owner) in [
            ("a", 0o644, (0, 0)),
            ("below", 0o755, (0, 0)),
            ("b", 0o000, (0, 0)),
            ("c", 0o777, (0, 0)),
            ("d", 0o4755, (0, 0)),
            ("e", 0o6711, (1234, 2345)),
            ("f", 0o2755, (0, 2345)),
            ("g", 0o1640, (1234, 0)),
            ("h", 0o444, (0, 2345)),
        ] {
            let path = format!("{name}/{file_name}");
            if file_name == "below" {
                add(&path, mode, owner, What::Directory);
                add(&format!("{path}/deep"), 0o750, owner, What::Directory);
                add(&format!("{path}/deep/file"), 0o640, owner, file(&path));
            } else {
                add(&path, mode, owner, file(&path));
            }
        }
        add(&format!("{name}/link"), 0o777, owner, What::Symlink("a"));
        add(&format!("{name}/out"), 0o777, (0, 0), What::Symlink("/etc"));
    }
    // a name that begins with that of a directory that is open
    add("plainer", 0o644, (0, 0), file(""));
    add("name", 0o4755, (0, 0), What::HardLink("plain/d"));
    if large {
        // which does not shrink
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        });
        add(
            "large",
            0o600,
            (0, 0),
            What::File(noise.take(3 << 20).collect()),
        );
    }
    all
}

fn packed(all: &[Wanted]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for one in all {
        let mut header = Header::new_gnu();
        header.set_mode(one.mode);
        header.set_uid(one.owner.0.into());
        header.set_gid(one.owner.1.into());
        header.set_mtime(one.mtime.try_into().unwrap());
        header.set_size(0);
        let mut content: &[u8] = &[];
        match &one.what {
            What::Directory => header.set_entry_type(EntryType::Directory),
            What::File(bytes) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes.len() as u64);
                content = bytes;
            }
            What::Symlink(target) | What::HardLink(target) => {
                header.set_entry_type(match one.what {
                    What::Symlink(_) => EntryType::Symlink,
                    _ => EntryType::Link,
                });
                header.set_link_name_literal(target).unwrap();
            }
        }
        builder
            .append_data(&mut header, &one.path, content)
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn listed(all: &[Wanted], one: &Wanted) -> PathEntry {
    let mut entry = PathEntry {
        path: format!("/{}", one.path),
        kind: PathKind::Directory,
        mode: one.mode,
        size: 0,
        digest: None,
        target: None,
    };
    match &one.what {
        What::Directory => {}
        What::File(content) => {
            entry.kind = PathKind::File;
            entry.size = content.len() as u64;
            entry.digest = Some(Digest::of(content));
        }
        What::Symlink(target) => {
            entry.kind = PathKind::Symlink;
            entry.target = Some((*target).to_owned());
        }
        What::HardLink(target) => {
            let path = entry.path;
            entry = listed(all, all.iter().find(|one| one.path == *target).unwrap());
            entry.path = path;
        }
    }
    entry
}

/// What differs of the tree at `root`.
fn differences(root: &Path, all: &[Wanted]) -> Vec<String> {
    let mut found = Vec::new();
    let mut count = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            count += 1;
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    if count != all.len() {
        found.push(format!("{count} paths, not {}", all.len()));
    }
    for one in all {
        let path = root.join(&one.path);
        let about = fs::symlink_metadata(&path).unwrap();
        let same = match &one.what {
            What::Directory => about.is_dir(),
            What::File(content) => about.is_file() && fs::read(&path).unwrap() == *content,
            What::Symlink(target) => fs::read_link(&path).unwrap() == Path::new(target),
            What::HardLink(target) => {
                about.ino() == fs::symlink_metadata(root.join(target)).unwrap().ino()
            }
        };
        if !same {
            found.push(format!("{}: kind or content", one.path));
        }
        if matches!(one.what, What::HardLink(_)) {
            continue;
        }
        let (mode, uid, gid) = (about.mode() & 0o7777, about.uid(), about.gid());
        if (mode, uid, gid) != (one.mode, one.owner.0, one.owner.1) {
            found.push(format!("{}: mode {mode:o} of {uid}:{gid}", one.path));
        }
        if (about.mtime(), about.mtime_nsec()) != (one.mtime, 0) {
            found.push(format!("{}: time {}", one.path, about.mtime()));
        }
        let mut names = [0_u8; 256];
        if rustix::fs::llistxattr(&path, &mut names).unwrap() > 0 {
            found.push(format!("{}: attributes {}", one.path, names.escape_ascii()));
        }
    }
    found
}

fn check(large: bool) {
    let place = Place::new();
    let store = place.store();
    let all = wanted(large);
    let paths = all.iter().map(|one| listed(&all, one)).collect();
    let tar = packed(&all);
    let mut artifact = layer_artifact(place.path(), "exact", &tar, Packing::Zstd, paths);
    artifact.manifest.size.plain = all.iter().map(size).sum();
    let digest = store.ingest(std::slice::from_ref(&artifact)).unwrap()[0];
    let component = leased(&artifact, digest);
    let tree = store.tree_path(&component.diff_id);
    assert_eq!(differences(&tree, &all), [""; 0], "ingested");
    let loads = place.store_path().join("loads");
    for group in [None, Some(4321)] {
        store.unload(&component.name).unwrap();
        if group.is_some() {
            // what is made in it belongs to its group and has the bit too
            let _ = chown(&loads, None, group);
            fs::set_permissions(&loads, Permissions::from_mode(0o2700)).unwrap();
        }
        for umask in ["000", "027", "077", "777"] {
            let load = said(child(&place, &format!("umask {umask}"), &component));
            assert!(matches!(load, Load::Unpacked { .. }), "{umask}: {load:?}");
            assert_eq!(differences(&tree, &all), [""; 0], "{umask} {group:?}");
            root_is_plain(&store, &artifact.manifest);
            assert_eq!(leftovers(&place), [""; 0]);
            store.unload(&component.name).unwrap();
        }
    }
}

fn size(one: &Wanted) -> u64 {
    match &one.what {
        What::File(content) => content.len() as u64,
        _ => 0,
    }
}

/// The root of a tree whose layer does not mention it.
fn root_is_plain(store: &Store, manifest: &Manifest) {
    let about = fs::symlink_metadata(store.tree_path(&manifest.layer.diff_id)).unwrap();
    let is = (about.mode() & 0o7777, about.mtime());
    assert_eq!(is, (0o755, 0));
    if rustix::process::geteuid().is_root() {
        assert_eq!((about.uid(), about.gid()), (0, 0));
    }
    assert!(store.verify(|_| {}).unwrap().is_intact());
}

#[test]
fn a_small_layer_is_loaded_exactly_under_any_umask() {
    check(false);
}

#[test]
fn a_large_layer_is_loaded_exactly_under_any_umask() {
    check(true);
}
