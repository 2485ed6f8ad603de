//! A rootfs that is an overlay, as engines mount it.

use std::ffi::CString;
use std::fs;
use std::path::PathBuf;

use crate::scene::Scene;

/// The overlay of a scene's rootfs. It is unmounted when this is dropped.
#[derive(Debug)]
pub struct Overlay {
    storage: PathBuf,
    point: PathBuf,
    options: &'static str,
}

impl Overlay {
    /// Makes what the rootfs of the scene holds the only layer of an image, and mounts a container's overlay there. The
    /// directories lie as docker and podman have them.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn below(scene: &Scene) -> Self {
        Self::with(scene, "")
    }

    /// The same with options of overlayfs, each with a comma before it.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn with(scene: &Scene, options: &'static str) -> Self {
        let storage = scene.file("storage");
        let point = scene.bundle.rootfs();
        for name in ["l", "C/diff", "C/work"] {
            fs::create_dir_all(storage.join(name)).expect("make a directory");
        }
        fs::rename(&point, storage.join("l/A")).expect("move the rootfs");
        fs::create_dir(&point).expect("make the rootfs anew");
        let overlay = Self {
            storage,
            point,
            options,
        };
        overlay.up();
        overlay
    }

    /// Mounts it, if it is not mounted.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn up(&self) {
        if !self.mounts().is_empty() {
            return;
        }
        let at = |name: &str| self.storage.join(name).display().to_string();
        let data = format!(
            "lowerdir={},upperdir={},workdir={}{}",
            at("l/A"),
            at("C/diff"),
            at("C/work"),
            self.options
        );
        let data = CString::new(data).expect("no zero byte");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("overlay", &self.point, "overlay", flags, data.as_c_str())
            .expect("mount the overlay");
    }

    /// Unmounts it by path, as an engine does.
    ///
    /// # Panics
    /// When that does not work.
    pub fn down(&self) {
        let flags = rustix::mount::UnmountFlags::empty();
        rustix::mount::unmount(&self.point, flags).expect("unmount the overlay");
    }

    /// The sources of what is mounted there, the topmost last.
    ///
    /// # Panics
    /// When the mount table cannot be read.
    #[must_use]
    pub fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        let point = self.point.canonicalize().expect("the rootfs");
        let point = format!(" {} ", point.display());
        let lines = table.lines().filter(|line| line.contains(&point));
        lines
            .filter_map(|line| line.split(" - overlay ").nth(1)?.split(' ').next())
            .map(str::to_owned)
            .collect()
    }

    /// What the container has written: a file of the upper directory.
    #[must_use]
    pub fn written(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.storage.join("C/diff").join(path)).ok()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        while !self.mounts().is_empty() {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(&self.point, flags).is_err() {
                return;
            }
        }
        // the bundle as it was
        let _ = fs::remove_dir(&self.point)
            .and_then(|()| fs::rename(self.storage.join("l/A"), &self.point));
    }
}
