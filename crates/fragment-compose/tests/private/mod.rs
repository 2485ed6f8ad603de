//! Tests that mount: each runs again in a process of its own, in a mount namespace of its own, so that nothing it does
//! reaches the host and the kernel takes everything back when it ends, however it ends.

#![allow(clippy::print_stdout, reason = "a skip tells why")]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use fragment_compose::MountOptions;
use rustix::fd::AsFd as _;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

const MARK: &str = "FRAGMENT_TEST_IN_PRIVATE_NAMESPACE";

/// Runs `body` in a private mount namespace; `name` is the path of the calling test.
pub(crate) fn in_private_namespace(name: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|mark| mark == name) {
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped {name}: mounting needs root");
        return;
    }
    let output = Command::new("timeout")
        .args(["60", "unshare", "--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name} in its namespace: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Mounts what was prepared, from where its options hold.
pub(crate) fn mount_prepared(options: &MountOptions, target: &Path) -> Result<(), String> {
    if let Some(directory) = &options.directory {
        std::env::set_current_dir(directory).unwrap();
    }
    mount_overlay(&options.list, target)
}

/// Mounts an overlay as libcontainer does: one fsconfig(2) per option.
pub(crate) fn mount_overlay(options: &[String], target: &Path) -> Result<(), String> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    let explain = |what: &str, errno: rustix::io::Errno| {
        let mut log = Vec::new();
        let mut file = File::from(context.as_fd().try_clone_to_owned().unwrap());
        let mut line = [0; 512];
        while let Ok(read @ 1..) = file.read(&mut line) {
            log.extend_from_slice(&line[..read]);
        }
        format!("{what}: {errno}: {}", String::from_utf8_lossy(&log))
    };
    fsconfig_set_string(context.as_fd(), "source", "fragment").unwrap();
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value),
            None => fsconfig_set_flag(context.as_fd(), option.as_str()),
        }
        .map_err(|errno| explain(option, errno))?;
    }
    fsconfig_create(context.as_fd()).map_err(|errno| explain("create", errno))?;
    let mount = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(|errno| explain("mount", errno))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount.as_fd(), "", rustix::fs::CWD, target, flags)
        .map_err(|errno| explain("move", errno))
}

pub(crate) fn unmount(target: &Path) {
    rustix::mount::unmount(target, rustix::mount::UnmountFlags::empty()).unwrap();
}

pub(crate) fn mount_tmpfs(target: &Path) {
    rustix::mount::mount(
        "tmpfs",
        target,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
}
