//! The overlay of an engine as rootfs: what takes its place, and how it comes back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod private;
mod site;

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;

use fragment_compose::{KernelVersion, Prepared, cleanup, give_back, reclaim, uncover};
use fragment_sys::user_namespace::Keeper;
use fragment_types::plan::Form;
use private::{in_private_namespace, mount_tmpfs, unmount};
use site::{Site, on, write};

/// A container of an engine: image layers, an upper directory, and the overlay of all, as docker and podman lay them out.
struct Engine {
    site: Site,
    storage: PathBuf,
    /// Added to the options of the overlay.
    options: Vec<String>,
}

impl Drop for Engine {
    /// The directories go with the site, when nothing is mounted there any more.
    fn drop(&mut self) {
        let detach = rustix::mount::UnmountFlags::DETACH;
        while rustix::mount::unmount(self.merged(), detach).is_ok() {}
    }
}

impl Engine {
    fn new() -> Self {
        let mut site = Site::new();
        site.core();
        let storage = site.path("storage");
        for name in ["l/A", "l/B", "ID/diff", "ID/work", "ID/merged"] {
            fs::create_dir_all(storage.join(name)).unwrap();
        }
        write(&storage.join("l/A"), "app/program", "the image's");
        write(&storage.join("l/B"), "srv/data", "the base's");
        // the engine's own preparations
        fs::create_dir(storage.join("ID/diff/etc")).unwrap();
        fs::write(storage.join("ID/diff/etc/hosts"), "").unwrap();
        Self {
            site,
            storage,
            options: Vec::new(),
        }
    }

    fn with(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.storage.join(name)
    }

    fn merged(&self) -> PathBuf {
        self.path("ID/merged")
    }

    /// mount(2), as engines do: with relative names where there are many layers.
    fn up(self) -> Self {
        let mut data = "lowerdir=l/A:l/B,upperdir=ID/diff,workdir=ID/work".to_owned();
        for option in &self.options {
            data = format!("{data},{option}");
        }
        std::env::set_current_dir(&self.storage).unwrap();
        let flags = rustix::mount::MountFlags::NODEV;
        let data = std::ffi::CString::new(data).unwrap();
        rustix::mount::mount("overlay", "ID/merged", "overlay", flags, data.as_c_str()).unwrap();
        std::env::set_current_dir("/").unwrap();
        self
    }

    fn compose(&self) -> fragment_compose::Composition {
        self.site
            .compose_at(&self.site.path("bundle"), &self.merged())
            .unwrap()
    }

    fn prepare(&self) -> Prepared {
        self.compose()
            .prepare(&on(KernelVersion::running()))
            .unwrap()
    }

    fn shows(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.merged().join(path)).ok()
    }

    /// The line of the mount table.
    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = format!(" {} ", self.merged().display());
        let lines = table.lines().filter(|line| line.contains(&point));
        // what a mount is, without the numbers it has this time
        lines
            .map(|line| line.split_once(&point).unwrap().1.to_owned())
            .collect()
    }
}

#[test]
fn kernel_an_engines_overlay_is_replaced_and_put_back() {
    in_private_namespace("kernel_an_engines_overlay_is_replaced_and_put_back", || {
        let engine = Engine::new().up();
        let before = engine.mounts();
        let composition = engine.compose();
        assert_eq!(composition.form, Form::Replace);
        assert!(
            composition.warnings.is_empty(),
            "{:?}",
            composition.warnings
        );
        let prepared = engine.prepare();
        assert_eq!(
            engine.mounts().len(),
            1,
            "one overlay on an upper directory"
        );
        assert!(
            engine.mounts()[0].starts_with("rw,nodev"),
            "{:?}",
            engine.mounts()
        );
        assert_eq!(engine.shows("app/program").as_deref(), Some("the image's"));
        assert_eq!(engine.shows("srv/data").as_deref(), Some("the base's"));
        assert_eq!(engine.shows("bin/sh").as_deref(), Some("core's sh"));
        assert_eq!(engine.shows("etc/passwd").as_deref(), Some("root"));
        write(&engine.merged(), "app/new", "written");
        assert_eq!(
            fs::read_to_string(engine.path("ID/diff/app/new")).unwrap(),
            "written"
        );
        // a create that fails
        drop(prepared);
        assert_eq!(engine.mounts().len(), 1);
        assert_eq!(engine.shows("bin/sh"), None);
        assert_eq!(engine.shows("app/new").as_deref(), Some("written"));
        let plain = |lines: &[String]| {
            lines[0]
                .split_whitespace()
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&before), plain(&engine.mounts()));
        unmount(&engine.merged());
        assert!(engine.mounts().is_empty());
    });
}

#[test]
fn kernel_a_create_that_was_killed_is_made_good_at_every_step() {
    in_private_namespace(
        "kernel_a_create_that_was_killed_is_made_good_at_every_step",
        || {
            let engine = Engine::new().up();
            let residue = engine.compose().residue;
            // before anything was done
            give_back(&residue).unwrap();
            assert_eq!(engine.mounts().len(), 1);
            // between the two mounts
            unmount(&engine.merged());
            give_back(&residue).unwrap();
            assert_eq!(engine.shows("app/program").as_deref(), Some("the image's"));
            // after them
            let _ = engine.prepare().commit().unwrap();
            assert!(engine.shows("bin/sh").is_some());
            give_back(&residue).unwrap();
            assert!(engine.shows("bin/sh").is_none());
            assert_eq!(engine.mounts().len(), 1);
            // when the engine has removed the container
            unmount(&engine.merged());
            fs::remove_dir_all(engine.path("ID")).unwrap();
            give_back(&residue).unwrap();
            assert!(engine.mounts().is_empty());
        },
    );
}

#[test]
fn kernel_a_root_that_is_still_ours_is_given_back_before_it_is_looked_at() {
    in_private_namespace(
        "kernel_a_root_that_is_still_ours_is_given_back_before_it_is_looked_at",
        || {
            let engine = Engine::new().up();
            let links = engine.site.path("links");
            let kernel = KernelVersion::running();
            assert!(!reclaim(&engine.merged(), kernel, &links).unwrap());
            let _ = engine.prepare().commit().unwrap();
            assert!(reclaim(&engine.merged(), kernel, &links).unwrap());
            assert!(engine.shows("bin/sh").is_none());
            // and composed again
            let _ = engine.prepare().commit().unwrap();
            assert!(engine.shows("bin/sh").is_some());
            assert_eq!(engine.mounts().len(), 1);
        },
    );
}

#[test]
fn kernel_a_volatile_overlay_is_replaced_and_put_back() {
    in_private_namespace("kernel_a_volatile_overlay_is_replaced_and_put_back", || {
        let engine = Engine::new().with(&["volatile"]).up();
        let prepared = engine.prepare();
        assert!(engine.shows("bin/sh").is_some());
        assert!(
            engine.mounts()[0].contains("volatile"),
            "{:?}",
            engine.mounts()
        );
        drop(prepared);
        assert!(engine.shows("bin/sh").is_none());
        assert!(
            engine.mounts()[0].contains("volatile"),
            "{:?}",
            engine.mounts()
        );
    });
}

#[test]
fn kernel_directories_that_the_engine_made_hide_nothing_and_those_the_container_made_do() {
    in_private_namespace(
        "kernel_directories_that_the_engine_made_hide_nothing_and_those_the_container_made_do",
        || {
            for feature in ["metacopy=on", "redirect_dir=on", "xino=on"] {
                made_and_emptied(feature);
            }
        },
    );
}

fn made_and_emptied(feature: &str) {
    let engine = Engine::new().with(&[feature]).up();
    // made through the overlay, so the kernel marks them
    fs::create_dir_all(engine.merged().join("usr/bin")).unwrap();
    fs::create_dir_all(engine.merged().join("app/mine")).unwrap();
    assert!(marked(&engine, "usr"), "{feature}");
    let prepared = engine.prepare();
    // the mount table does not show xino where all layers are on one file system
    let mounts = engine.mounts();
    assert!(
        mounts[0].contains(feature) || feature == "xino=on",
        "{mounts:?}"
    );
    assert_eq!(engine.shows("usr/bin/sh").as_deref(), Some("core's sh"));
    assert_eq!(engine.shows("etc/passwd").as_deref(), Some("root"));
    // the container empties a directory of a component
    fs::remove_dir_all(engine.merged().join("usr/bin")).unwrap();
    fs::create_dir(engine.merged().join("usr/bin")).unwrap();
    assert_eq!(engine.shows("usr/bin/sh"), None);
    let _ = prepared.commit().unwrap();
    // stopped and started again
    unmount(&engine.merged());
    let engine = engine.up();
    let _ = engine.prepare().commit().unwrap();
    assert_eq!(engine.shows("usr/bin/sh"), None, "{feature}: stays removed");
    unmount(&engine.merged());
}

/// Whether the kernel has marked a directory of the upper layer opaque.
fn marked(engine: &Engine, directory: &str) -> bool {
    let path = engine.path("ID/diff").join(directory);
    let mut value = [0_u8; 8];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok()
}

#[test]
fn kernel_an_overlay_that_is_mounted_twice_is_composed_flat() {
    in_private_namespace(
        "kernel_an_overlay_that_is_mounted_twice_is_composed_flat",
        || {
            let engine = Engine::new().up();
            let second = engine.site.path("second");
            fs::create_dir(&second).unwrap();
            rustix::mount::mount_bind(engine.merged(), &second).unwrap();
            // the engine looks before, and remembers that nothing is there
            assert!(!engine.merged().join("app/new").exists());
            let composition = engine
                .site
                .compose_at(&engine.site.path("bundle"), &second)
                .unwrap();
            assert_eq!(composition.form, Form::Flat);
            let prepared = composition.prepare(&on(KernelVersion::running())).unwrap();
            assert_eq!(
                fs::read_to_string(second.join("bin/sh")).unwrap(),
                "core's sh"
            );
            write(&second, "app/new", "written");
            assert_eq!(engine.shows("bin/sh"), None);
            let residue = prepared.commit().unwrap();
            let work = residue.work.clone().unwrap();
            assert!(work.is_dir());
            assert!(
                !second.join("bin").exists(),
                "the container has its own view"
            );
            uncover(&residue).unwrap();
            cleanup(&residue).unwrap();
            assert!(!work.exists());
            assert_eq!(engine.shows("app/new").as_deref(), Some("written"));
            assert_eq!(engine.shows("bin/sh"), None);
            unmount(&second);
        },
    );
}

#[test]
fn kernel_an_overlay_in_use_is_covered_and_uncovered() {
    in_private_namespace("kernel_an_overlay_in_use_is_covered_and_uncovered", || {
        let engine = Engine::new().up();
        let file = File::open(engine.merged().join("etc/hosts")).unwrap();
        let prepared = engine.prepare();
        assert_eq!(engine.mounts().len(), 2);
        assert!(engine.shows("bin/sh").is_some());
        write(&engine.merged(), "app/new", "written");
        let residue = prepared.commit().unwrap();
        uncover(&residue).unwrap();
        cleanup(&residue).unwrap();
        assert_eq!(engine.mounts().len(), 1);
        assert_eq!(engine.shows("bin/sh"), None);
        assert_eq!(engine.shows("app/new").as_deref(), Some("written"));
        drop(file);
        unmount(&engine.merged());
    });
}

#[test]
fn kernel_what_cannot_be_mounted_again_is_stacked_and_kept_with_the_container() {
    in_private_namespace(
        "kernel_what_cannot_be_mounted_again_is_stacked_and_kept_with_the_container",
        || {
            let engine = Engine::new().with(&["index=on"]).up();
            let composition = engine.compose();
            assert_eq!(composition.form, Form::Stack);
            assert!(
                composition.warnings[0].contains("index=on"),
                "{:?}",
                composition.warnings
            );
            assert!(
                composition.warnings[0].contains("kept with it"),
                "{:?}",
                composition.warnings
            );
            for expected in [None, Some("written")] {
                let prepared = engine.prepare();
                let point = engine.site.path("merged");
                private::mount_prepared(&prepared.options, &point).unwrap();
                assert_eq!(
                    fs::read_to_string(point.join("bin/sh")).unwrap(),
                    "core's sh"
                );
                assert_eq!(
                    fs::read_to_string(point.join("app/new")).ok().as_deref(),
                    expected
                );
                write(&point, "app/new", "written");
                unmount(&point);
                cleanup(&prepared.commit().unwrap()).unwrap();
            }
            unmount(&engine.merged());
        },
    );
}

#[test]
fn kernel_layers_that_show_something_else_are_not_used() {
    in_private_namespace(
        "kernel_layers_that_show_something_else_are_not_used",
        || {
            let engine = Engine::new().up();
            // as where an engine mounts a layer with other owners, makes the overlay and takes the layer away again
            mount_tmpfs(&engine.path("l/A"));
            let composition = engine.compose();
            assert_eq!(composition.form, Form::Stack);
            assert!(
                composition.warnings[0].contains("other files"),
                "{:?}",
                composition.warnings
            );
            unmount(&engine.path("l/A"));
            assert_eq!(engine.compose().form, Form::Replace);
            chown(engine.path("l/A/app"), Some(7), None).unwrap();
            assert_eq!(
                engine.compose().form,
                Form::Replace,
                "the overlay shows the change as well"
            );
        },
    );
}

#[test]
fn kernel_components_have_the_owners_of_the_containers_user_namespace() {
    in_private_namespace(
        "kernel_components_have_the_owners_of_the_containers_user_namespace",
        || {
            let engine = Engine::new().up();
            let keeper = Keeper::new().unwrap();
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{}/{map}", keeper.pid()), "0 100000 65536\n").unwrap();
            }
            let namespace = keeper.namespace().unwrap();
            let site = fragment_compose::Site {
                identities: Some(namespace.as_fd()),
                ..on(KernelVersion::running())
            };
            let prepared = engine.compose().prepare(&site).unwrap();
            assert!(prepared.warnings.is_empty(), "{:?}", prepared.warnings);
            let owner = |path: &str| engine.merged().join(path).metadata().unwrap().uid();
            assert_eq!(owner("usr/bin/sh"), 100_000);
            assert_eq!(
                owner("app/program"),
                0,
                "the image's files are the engine's to map"
            );
            // a change copies the file up, with that owner
            fs::write(engine.merged().join("etc/passwd"), "changed").unwrap();
            assert_eq!(
                engine.path("ID/diff/etc/passwd").metadata().unwrap().uid(),
                100_000
            );
            drop(prepared);
            assert_eq!(engine.mounts().len(), 1);
        },
    );
}

#[test]
fn kernel_a_bind_mount_is_written_through_another_way_to_its_directory() {
    in_private_namespace(
        "kernel_a_bind_mount_is_written_through_another_way_to_its_directory",
        || {
            let mut site = Site::new();
            site.core();
            let store = site.path("store");
            fs::create_dir_all(store.join("container")).unwrap();
            rustix::mount::mount_bind(store.join("container"), site.rootfs()).unwrap();
            let composition = site.compose().unwrap();
            assert_eq!(composition.form, Form::Upper, "{:?}", composition.warnings);
            let prepared = site.mount();
            write(&site.path("merged"), "file", "written");
            unmount(&site.path("merged"));
            drop(prepared);
            assert_eq!(
                fs::read_to_string(store.join("container/file")).unwrap(),
                "written"
            );
            assert_eq!(fs::read_dir(&store).unwrap().count(), 1);
            unmount(&site.rootfs());
        },
    );
}

#[test]
fn kernel_lists_that_older_kernels_take_are_mounted_too() {
    in_private_namespace(
        "kernel_lists_that_older_kernels_take_are_mounted_too",
        || {
            let engine = Engine::new().up();
            let prepared = engine
                .compose()
                .prepare(&on(KernelVersion::new(6, 1)))
                .unwrap();
            assert_eq!(engine.shows("bin/sh").as_deref(), Some("core's sh"));
            assert!(
                engine.mounts()[0].contains("lowerdir="),
                "{:?}",
                engine.mounts()
            );
            drop(prepared);
            assert_eq!(engine.shows("app/program").as_deref(), Some("the image's"));
            assert_eq!(engine.mounts().len(), 1);
        },
    );
}
