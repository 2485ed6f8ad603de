//! Many containers of the same components: each file of them is in memory once, and a container costs next to nothing beside.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fragment_tests::{Scene, child};

/// Containers, beside the first.
const MORE: usize = 11;
/// Most bytes on disk, in whole blocks, that a container may take in files of ours.
const OWN_BYTES: u64 = 64_000;

/// Bytes of mapped files of a process that it did not write to: those that are resident, and its share of them (proc_pid_smaps(5)).
fn mapped(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("smaps");
    let (mut resident, mut share, mut is_file) = (0_u64, 0_u64, false);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bytes = || 1024 * words[1].parse::<u64>().expect("a number");
        match words[0] {
            "Rss:" if is_file => resident += bytes(),
            "Pss:" if is_file => share += bytes(),
            "Anonymous:" if is_file => {
                resident = resident.saturating_sub(bytes());
                share = share.saturating_sub(bytes());
            }
            key if !key.ends_with(':') => {
                is_file = words.get(5).is_some_and(|path| path.starts_with('/'));
            }
            _ => {}
        }
    }
    (resident, share)
}

/// Bytes of the blocks of all below a directory, itself included.
fn disk(path: &Path) -> u64 {
    let about = fs::symlink_metadata(path).expect("stat");
    let entries = about
        .is_dir()
        .then(|| fs::read_dir(path).expect("a directory"));
    let below = entries.into_iter().flatten();
    let below: u64 = below
        .map(|entry| disk(&entry.expect("an entry").path()))
        .sum();
    512 * about.blocks() + below
}

#[test]
fn a_file_of_components_is_in_memory_once_however_many_containers_map_it() {
    let mut scene = Scene::empty();
    let script = "import ssl, time; open('/dev/shm/ready', 'w').close(); time.sleep(1000)";
    scene
        .bundle
        .args(&["/usr/bin/python3", "-c", script])
        .writable();
    scene.bundle.expect("rootfs");
    let ready = |pid: u32| {
        let mark = format!("/proc/{pid}/root/dev/shm/ready");
        child::until("the container is ready", || Path::new(&mark).exists());
    };
    let start = |id: &str, bundle: &Path| -> u32 {
        scene
            .call(["create", "--bundle"])
            .args([bundle])
            .args([id])
            .env("FRAGMENT_STATE", scene.file("kept"))
            .output()
            .ok();
        scene.call(["start", id]).output().ok();
        let state = scene.call(["state", id]).output().ok().json();
        let pid = state["pid"].as_u64().expect("a number");
        let pid = u32::try_from(pid).expect("a number");
        ready(pid);
        pid
    };
    let mut pids = vec![start(&scene.id, scene.bundle.path())];
    let (alone, _) = mapped(pids[0]);
    assert!(alone > 4_000_000, "{alone}");
    let state = scene.runtime.root();
    let before = disk(state);
    let others: Vec<_> = (0..MORE)
        .map(|number| scene.another(&number.to_string()))
        .collect();
    for (id, bundle) in &others {
        pids.push(start(id, bundle.path()));
    }
    let own = (disk(state) - before) / MORE as u64;
    let shares: u64 = pids.iter().map(|pid| mapped(*pid).1).sum();
    for (id, _) in &others {
        scene.call(["delete", "-f", id]).output().ok();
    }
    scene.call(["delete", "-f", &scene.id]).output().ok();
    // one copy: all shares together are what one of them has resident (what only some have touched comes on top)
    assert!(
        shares <= alone + alone / 10,
        "{shares} of {} processes, {alone} of one",
        pids.len()
    );
    assert!(own <= OWN_BYTES, "{own} bytes a container");
}
