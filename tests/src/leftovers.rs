//! What is left of a container: mounts, cgroups, processes and files that mention its id.
//!
//! Ids are unique to a test, so "the same as before" means "none" for everything that carries the id, and tests that run
//! at the same time do not disturb each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::runtime::MARKER;

/// How long processes may take to vanish after the runtime said they are gone.
const GRACE: Duration = Duration::from_secs(3);

/// Everything on this machine that mentions `id`, in words; `directory` is the test's own and is looked at by its mounts
/// only.
#[must_use]
pub fn of(id: &str, directory: &Path) -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    let (mut processes, mut inhabitants) = (processes(id), inhabitants(directory));
    while !(processes.is_empty() && inhabitants.is_empty()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        processes = self::processes(id);
        inhabitants = self::inhabitants(directory);
    }
    let mut found = Vec::new();
    found.extend(
        inhabitants
            .iter()
            .map(|pid| format!("process {pid} in a mount namespace of the test")),
    );
    found.extend(
        processes
            .iter()
            .map(|process| format!("process {} ({})", process.pid, process.why)),
    );
    found.extend(
        mounts(id, directory)
            .into_iter()
            .map(|line| format!("mount {line}")),
    );
    found.extend(
        cgroups(id)
            .into_iter()
            .map(|path| format!("cgroup {}", path.display())),
    );
    found.extend(
        files(id)
            .into_iter()
            .map(|path| format!("file {}", path.display())),
    );
    found.extend(
        keyrings(id)
            .into_iter()
            .map(|line| format!("keyring {line}")),
    );
    found
}

/// Session keyrings named after `id`, as lines of /proc/keys; the kernel collects them a moment after their last user.
#[must_use]
pub fn keyrings(id: &str) -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    loop {
        let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
        let found: Vec<String> = keys
            .lines()
            .filter(|line| line.contains(&format!("_ses.{id}")))
            .map(str::to_owned)
            .collect();
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends and removes what [`of`] finds, so that a failed test does not spoil the next.
pub fn remove(id: &str, directory: &Path) {
    for process in processes(id) {
        let _ = crate::child::signal(process.pid, rustix::process::Signal::KILL);
    }
    let deadline = Instant::now() + GRACE;
    for pid in inhabitants(directory) {
        let _ = crate::child::signal(pid, rustix::process::Signal::KILL);
    }
    while !processes(id).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    for line in mounts(id, directory).into_iter().rev() {
        if let Some(target) = line.split(' ').nth(4) {
            let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        }
    }
    // EBUSY until the kernel has done away with the processes
    for cgroup in cgroups(id).into_iter().rev() {
        while fs::remove_dir(&cgroup).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for file in files(id) {
        let _ = if file.is_dir() {
            fs::remove_dir_all(file)
        } else {
            fs::remove_file(file)
        };
    }
}

/// A process that belongs to a container or to a call of the runtime.
#[derive(Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What tells so.
    pub why: String,
}

/// Processes in a cgroup named after `id`, started by a call that [`MARKER`] marks, or with `id` in their command line.
/// Zombies are not counted: only their parent can remove them.
#[must_use]
pub fn processes(id: &str) -> Vec<Process> {
    let own = std::process::id();
    let pids = directory(Path::new("/proc"))
        .filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own);
    pids.filter_map(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let mentions = |bytes: &[u8], needle: &str| {
            bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
        };
        let why = if mentions(&read("cgroup"), id) {
            "by its cgroup"
        } else if mentions(&read("environ"), &format!("{MARKER}={id}")) {
            "by its environment"
        } else if command.contains(id) {
            "by its command line"
        } else {
            return None;
        };
        crate::child::is_alive(pid).then(|| Process {
            pid,
            why: format!("{why}: {}", command.trim()),
        })
    })
    .collect()
}

/// Processes, by pid, that have something of `directory` mounted: a container that has no other mark, because the runtime
/// lost it before it had a cgroup or an environment of its own.
#[must_use]
pub fn inhabitants(directory: &Path) -> Vec<u32> {
    let (own, needle) = (std::process::id(), directory.to_string_lossy().into_owned());
    let pids = self::directory(Path::new("/proc"))
        .filter_map(|path| path.file_name()?.to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != own);
    let host = fs::read_link("/proc/self/ns/mnt").ok();
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() != host)
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/mountinfo"))
                .is_ok_and(|table| table.contains(&needle))
        })
        .collect()
}

/// Namespaces that are kept by a bind mount instead of a process, as lines of mountinfo.
#[must_use]
pub fn pinned_namespaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read /proc/self/mountinfo");
    table
        .lines()
        .filter(|line| line.contains(" - nsfs "))
        .map(str::to_owned)
        .collect()
}

/// Lines of this namespace's mountinfo that mention `id` or lie below `directory`.
#[must_use]
pub fn mounts(id: &str, directory: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read /proc/self/mountinfo");
    let directory = directory.to_string_lossy();
    table
        .lines()
        .filter(|line| line.contains(id) || line.contains(&*directory))
        .map(str::to_owned)
        .collect()
}

/// Cgroups in any mounted hierarchy whose path mentions `id`, parents first.
#[must_use]
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("read /proc/self/mountinfo");
    for line in table.lines() {
        let kind = line
            .split(" - ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        if matches!(kind, Some("cgroup" | "cgroup2"))
            && let Some(target) = line.split(' ').nth(4)
        {
            walk(Path::new(target), 12, &mut |path| {
                // with what the container made below it, which has to go first
                if path.to_string_lossy().contains(id) {
                    found.push(path.to_owned());
                }
            });
        }
    }
    found
}

/// Files in the places where runtimes keep state.
fn files(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (top, depth) in [("/run", 5), ("/var/lib", 2), ("/dev/shm", 2), ("/tmp", 2)] {
        let mut visit = |path: &Path| {
            if mentions(path, id) && !found.iter().any(|above: &PathBuf| path.starts_with(above)) {
                found.push(path.to_owned());
            }
        };
        walk_all(Path::new(top), depth, &mut visit);
    }
    found
}

fn mentions(path: &Path, id: &str) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().contains(id))
}

fn walk(top: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    for path in directory(top).filter(|path| path.is_dir() && !path.is_symlink()) {
        visit(&path);
        if depth > 1 {
            walk(&path, depth - 1, visit);
        }
    }
}

fn walk_all(top: &Path, depth: usize, visit: &mut dyn FnMut(&Path)) {
    for path in directory(top) {
        visit(&path);
        if depth > 1 && path.is_dir() && !path.is_symlink() {
            walk_all(&path, depth - 1, visit);
        }
    }
}

/// Entries of a directory that may vanish at any time.
fn directory(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}
