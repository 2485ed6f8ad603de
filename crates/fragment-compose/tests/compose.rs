//! The decision, its preparation, and the kernel behaviour that both rely on.

#![allow(clippy::unwrap_used, reason = "tests")]

mod private;
mod site;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use fragment_compose::{ComposeError, Inputs, KernelVersion, cleanup, compose, generated};
use fragment_types::plan::{Form, Reason};
use fragment_types::{Digest, Need};
use private::{in_private_namespace, mount_overlay, mount_prepared, mount_tmpfs, unmount};
use site::{Site, on, write};

#[test]
fn without_layers_nothing_is_composed_and_nothing_looked_at() {
    let site = Site::new();
    fs::remove_dir(site.rootfs()).unwrap();
    let composition = site.compose().unwrap();
    assert_eq!(composition.form, Form::Plain);
    assert!(composition.residue.is_empty());
    let prepared = composition.prepare(&on(KernelVersion::running())).unwrap();
    assert!(prepared.overlay.is_none() && prepared.options.list.is_empty());
}

#[test]
fn deciding_changes_nothing_and_preparing_is_undone_unless_committed() {
    let mut site = Site::new();
    site.core();
    let composition = site.compose().unwrap();
    assert_eq!(composition.form, Form::Upper, "{:?}", composition.warnings);
    assert_eq!(site.traces(), ["bundle/rootfs"]);

    let prepared = composition.prepare(&on(KernelVersion::new(6, 8))).unwrap();
    let work = composition.residue.work.clone().unwrap();
    assert!(
        work.is_dir() && work.parent() == Some(&site.path("bundle")),
        "{work:?}"
    );
    assert_eq!(work.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(
        prepared.overlay.as_ref().unwrap().upper,
        Some(site.rootfs())
    );
    drop(prepared);
    assert_eq!(site.traces(), ["bundle/rootfs"]);

    let residue = composition
        .prepare(&on(KernelVersion::new(6, 8)))
        .unwrap()
        .commit()
        .unwrap();
    assert!(work.is_dir());
    // the same container again, as after a crash
    drop(
        composition
            .prepare(&on(KernelVersion::new(6, 8)))
            .unwrap()
            .commit(),
    );
    for _ in 0..2 {
        cleanup(&residue).unwrap();
        assert_eq!(site.traces(), ["bundle/rootfs"]);
    }
}

#[test]
fn what_cannot_be_prepared_leaves_nothing() {
    let mut site = Site::new();
    site.readonly = true;
    site.mount_targets = vec!["/data".to_owned()];
    site.core();
    site.layer("gone", &[]);
    let composition = site.compose().unwrap();
    fs::remove_dir_all(site.path("trees").join(Digest::of(b"gone").hex())).unwrap();
    let error = composition.check_trees().unwrap_err();
    assert!(matches!(&error, ComposeError::Tree { component, .. } if component.as_str() == "gone"));
    assert_eq!(site.traces(), ["bundle/rootfs"]);

    // an upper and a work directory are there already when the options turn out not to fit
    site.layers.pop();
    for n in 0..120 {
        site.layer(&format!("n{n}"), &[]);
    }
    let error = site
        .compose()
        .unwrap()
        .prepare(&on(KernelVersion::new(5, 15)))
        .unwrap_err();
    assert!(
        matches!(error, ComposeError::OptionTooLong { .. }),
        "{error}"
    );
    assert_eq!(site.traces(), ["bundle/rootfs"]);
}

#[test]
fn two_containers_of_one_bundle_have_work_directories_of_their_own_and_a_warning() {
    let mut site = Site::new();
    site.core();
    let first = site.compose().unwrap();
    let (bundle, trees) = (site.path("bundle"), site.path("trees"));
    let second = compose(&Inputs {
        id: "other/../..",
        bundle: &bundle,
        rootfs: &site.rootfs(),
        user_namespace: false,
        readonly: false,
        layers: &site.layers,
        tree: &|diff_id| trees.join(diff_id.hex()),
        scratch: &site.path("state2"),
        mount_targets: &[],
    })
    .unwrap();
    assert_ne!(first.residue.work, second.residue.work);
    assert_eq!(
        second.residue.work.as_ref().unwrap().parent(),
        Some(bundle.as_path())
    );
    let one = first.prepare(&on(KernelVersion::new(6, 8))).unwrap();
    let two = second.prepare(&on(KernelVersion::new(6, 8))).unwrap();
    assert!(one.warnings.is_empty());
    assert!(
        two.warnings[0].contains("another container"),
        "{:?}",
        two.warnings
    );
}

#[test]
fn what_is_no_directory_is_refused_by_name() {
    let mut site = Site::new();
    site.core();
    fs::remove_dir(site.rootfs()).unwrap();
    assert!(matches!(site.compose(), Err(ComposeError::Look { .. })));
    fs::write(site.rootfs(), "").unwrap();
    assert!(matches!(
        site.compose(),
        Err(ComposeError::RootfsIsNoDirectory { .. })
    ));
    fs::remove_file(site.rootfs()).unwrap();
    symlink("/", site.rootfs()).unwrap();
    let error = site.compose().unwrap_err();
    assert!(
        matches!(&error, ComposeError::RootfsIsLink { target, .. } if target == Path::new("/"))
    );
}

#[test]
fn special_directories_and_usr_must_be_directories() {
    for name in ["dev", "proc", "sys", "usr"] {
        let mut site = Site::new();
        site.core();
        symlink("/tmp", site.rootfs().join(name)).unwrap();
        let message = site.compose().unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("/{name} of the rootfs")),
            "{message}"
        );
        assert!(message.contains("a symbolic link to `/tmp`"), "{message}");
        fs::remove_file(site.rootfs().join(name)).unwrap();
        fs::create_dir(site.rootfs().join(name)).unwrap();
        assert!(site.compose().is_ok());
    }
    let mut site = Site::new();
    site.layer("broken", &[("proc", "a file")]);
    let error = site.compose().unwrap().check_trees().unwrap_err();
    assert!(
        matches!(
            error,
            ComposeError::LayerMustHoldDirectory { name: "proc", .. }
        ),
        "{error}"
    );
}

#[test]
fn a_bin_that_leads_elsewhere_and_hides_what_is_needed_is_refused_with_the_remedy() {
    let mut site = Site::new();
    site.core();
    fs::create_dir(site.rootfs().join("opt")).unwrap();
    symlink("opt", site.rootfs().join("bin")).unwrap();
    let composition = site.compose().unwrap();
    assert!(composition.warnings[0].starts_with("/bin of the rootfs is a symbolic link to `opt`"));

    let requirement = Need::Path {
        path: "/bin/sh".to_owned(),
    };
    site.layers[0]
        .reasons
        .push(Reason::Supplies { requirement });
    let message = site.compose().unwrap_err().to_string();
    assert_eq!(
        message,
        "/bin of the rootfs is a symbolic link to `opt` and hides /bin/sh, which the components supply as /usr/bin/sh: move \
         its content to usr/bin and make it a link (ln -s usr/bin bin)"
    );
    fs::write(site.rootfs().join("opt/sh"), "the bundle's own").unwrap();
    assert!(site.compose().is_ok());

    fs::remove_file(site.rootfs().join("bin")).unwrap();
    symlink("usr/bin", site.rootfs().join("bin")).unwrap();
    assert!(site.compose().unwrap().warnings.is_empty());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_lib64_that_leads_to_no_loader_is_refused() {
    let mut site = Site::new();
    site.core();
    // a link out of the rootfs leads to no loader, whatever the host has
    symlink("/../lib", site.rootfs().join("lib64")).unwrap();
    let error = site.compose().unwrap_err();
    assert!(
        matches!(&error, ComposeError::Hidden { directory: "lib64", path, .. }
        if path == "/lib64/ld-linux-x86-64.so.2"),
        "{error}"
    );
    // a directory is bridged by a generated layer
    fs::remove_file(site.rootfs().join("lib64")).unwrap();
    fs::create_dir(site.rootfs().join("lib64")).unwrap();
    assert!(site.compose().is_ok());
}

#[test]
fn a_generated_layer_lies_between_the_rootfs_and_the_components() {
    in_private_namespace(
        "a_generated_layer_lies_between_the_rootfs_and_the_components",
        || {
            let mut site = Site::new();
            site.core();
            write(&site.rootfs(), "bin/own", "the rootfs' own");
            let made = site.path("generated");
            write(&made, "etc/passwd", "root and redis");
            fs::create_dir(made.join("bin")).unwrap();
            symlink("../usr/bin/sh", made.join("bin/sh")).unwrap();
            let mut composition = site.compose().unwrap();
            composition.cover(made);
            let prepared = composition.prepare(&on(KernelVersion::running())).unwrap();
            mount_prepared(&prepared.options, &site.path("merged")).unwrap();
            assert_eq!(site.read("etc/passwd").as_deref(), Some("root and redis"));
            assert_eq!(site.read("bin/sh").as_deref(), Some("core's sh"));
            assert_eq!(site.read("bin/own").as_deref(), Some("the rootfs' own"));
            unmount(&site.path("merged"));
            drop(prepared);
            assert_eq!(site.traces(), ["bundle/rootfs"]);
        },
    );
}

#[test]
fn more_layers_than_the_kernel_takes_are_mounted_as_fewer() {
    in_private_namespace(
        "more_layers_than_the_kernel_takes_are_mounted_as_fewer",
        || {
            let mut site = Site::new();
            for n in 0..600 {
                let own = format!("usr/share/n/{n}");
                let who = format!("layer {n}");
                site.layer(&format!("n{n}"), &[(&own, "x"), ("usr/share/who", &who)]);
            }
            site.core();
            let mut composition = site.compose().unwrap();
            let kernel = KernelVersion::running();
            assert!(composition.prepare(&on(kernel)).is_err());
            let made = composition
                .condense(&site.layers, None, kernel)
                .expect("too many");
            let (trees, place) = (site.path("trees"), site.path("generated"));
            fs::create_dir(&place).unwrap();
            let tree = |diff_id: &Digest| trees.join(diff_id.hex());
            generated::layer::make(&made, &tree, &place).unwrap();
            composition.cover(place);
            let prepared = composition.prepare(&on(kernel)).unwrap();
            mount_prepared(&prepared.options, &site.path("merged")).unwrap();
            for n in [0, 150, 300, 599] {
                let own = format!("usr/share/n/{n}");
                assert_eq!(site.read(&own).as_deref(), Some("x"), "{n}");
            }
            assert_eq!(site.read("usr/share/who").as_deref(), Some("layer 0"));
            assert_eq!(site.read("usr/bin/sh").as_deref(), Some("core's sh"));
            unmount(&site.path("merged"));
            // few layers are left as they are
            site.layers.truncate(64);
            let mut few = site.compose().unwrap();
            assert!(few.condense(&site.layers, None, kernel).is_none());
        },
    );
}

#[test]
fn a_store_inside_the_rootfs_is_refused() {
    let mut site = Site::new();
    site.core();
    let inside = site.rootfs().join("var/trees");
    let error = compose(&Inputs {
        id: "x",
        bundle: &site.path("bundle"),
        rootfs: &site.rootfs(),
        user_namespace: false,
        readonly: false,
        layers: &site.layers,
        tree: &|diff_id| inside.join(diff_id.hex()),
        scratch: &site.path("state"),
        mount_targets: &[],
    })
    .unwrap_err();
    assert!(matches!(error, ComposeError::Overlap { .. }), "{error}");
}

#[test]
fn a_bundle_that_is_its_own_rootfs_has_its_work_directory_beside_it() {
    let mut site = Site::new();
    site.core();
    let composition = site.compose_in(&site.rootfs()).unwrap();
    assert_eq!(composition.form, Form::Upper);
    let work = composition.residue.work.unwrap();
    assert_eq!(work.parent(), site.rootfs().parent());
}

#[test]
fn kernel_writes_land_in_the_rootfs_and_the_topmost_layer_wins() {
    in_private_namespace(
        "kernel_writes_land_in_the_rootfs_and_the_topmost_layer_wins",
        || {
            let mut site = Site::new();
            write(&site.rootfs(), "app/program", "the app");
            write(&site.rootfs(), "etc/hostname", "box");
            fs::set_permissions(site.rootfs(), fs::Permissions::from_mode(0o751)).unwrap();
            let top = site.layer("top", &[("usr/bin/sh", "top's sh")]);
            site.core();
            let prepared = site.mount();
            assert_eq!(site.read("app/program").as_deref(), Some("the app"));
            assert_eq!(site.read("etc/hostname").as_deref(), Some("box"));
            assert_eq!(site.read("etc/passwd").as_deref(), Some("root"));
            assert_eq!(site.read("bin/sh").as_deref(), Some("top's sh"));
            assert_eq!(
                site.path("merged").metadata().unwrap().mode() & 0o7777,
                0o751
            );

            let merged = site.path("merged");
            write(&merged, "var/new", "written");
            fs::write(merged.join("etc/passwd"), "changed").unwrap();
            fs::remove_file(merged.join("usr/bin/sh")).unwrap();
            // without redirects a directory of a component cannot be renamed, only copied
            let error = fs::rename(merged.join("usr/bin"), merged.join("usr/moved")).unwrap_err();
            assert_eq!(
                error.raw_os_error(),
                Some(rustix::io::Errno::XDEV.raw_os_error())
            );
            unmount(&merged);
            assert_eq!(
                fs::read_to_string(site.rootfs().join("var/new")).unwrap(),
                "written"
            );
            assert_eq!(
                fs::read_to_string(site.rootfs().join("etc/passwd")).unwrap(),
                "changed"
            );
            assert_eq!(
                fs::read_to_string(top.join("usr/bin/sh")).unwrap(),
                "top's sh"
            );

            // the kernel left `work/work` with mode 000
            let work = prepared.commit().unwrap();
            assert_eq!(site.traces().len(), 2, "{:?}", site.traces());
            cleanup(&work).unwrap();
            assert_eq!(site.traces(), ["bundle/rootfs"]);
            // and the same rootfs goes with other layers the next time
            site.layers.remove(0);
            drop(site.mount());
            assert_eq!(site.read("etc/passwd").as_deref(), Some("changed"));
            unmount(&merged);
        },
    );
}

#[test]
fn kernel_read_only_root_is_read_only() {
    in_private_namespace("kernel_read_only_root_is_read_only", || {
        let mut site = Site::new();
        site.readonly = true;
        site.mount_targets = ["/proc", "/dev", "/etc/passwd"].map(str::to_owned).into();
        write(&site.rootfs(), "app", "the app");
        site.core();
        let prepared = site.mount();
        assert_eq!(prepared.overlay.as_ref().unwrap().upper, None);
        assert_eq!(site.read("app").as_deref(), Some("the app"));
        let error = fs::write(site.path("merged/file"), "").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        unmount(&site.path("merged"));

        // a mount without a place gets one in an upper that is thrown away
        site.mount_targets.push("/data/in".to_owned());
        let composition = site.compose().unwrap();
        assert_eq!(composition.form, Form::ReadOnly);
        drop(prepared);
        let prepared = site.mount();
        fs::create_dir_all(site.path("merged/data/in")).unwrap();
        unmount(&site.path("merged"));
        drop(prepared);
        assert!(!site.rootfs().join("data").exists());
        assert_eq!(site.traces(), ["bundle/rootfs"]);
    });
}

#[test]
fn kernel_a_mount_of_its_own_is_stacked() {
    in_private_namespace("kernel_a_mount_of_its_own_is_stacked", || {
        let mut site = Site::new();
        site.core();
        mount_tmpfs(&site.rootfs());
        fs::set_permissions(site.rootfs(), fs::Permissions::from_mode(0o711)).unwrap();
        let composition = site.compose().unwrap();
        assert_eq!(composition.form, Form::Stack);
        assert!(
            composition.warnings[0].contains("a mount of its own"),
            "{composition:?}"
        );
        let prepared = site.mount();
        assert_eq!(
            site.path("merged").metadata().unwrap().mode() & 0o777,
            0o711
        );
        write(&site.path("merged"), "file", "dropped");
        unmount(&site.path("merged"));
        drop(prepared);
        assert!(!site.rootfs().join("file").exists());
        unmount(&site.rootfs());
    });
}

#[test]
fn kernel_a_read_only_filesystem_is_stacked_and_scratch_must_hold_an_upper() {
    in_private_namespace(
        "kernel_a_read_only_filesystem_is_stacked_and_scratch_must_hold_an_upper",
        || {
            let mut site = Site::new();
            site.core();
            let bundle = site.path("bundle");
            mount_tmpfs(&bundle);
            fs::create_dir(site.rootfs()).unwrap();
            assert_eq!(
                site.compose().unwrap().form,
                Form::Upper,
                "another filesystem is fine"
            );
            let flags = rustix::mount::MountFlags::RDONLY;
            rustix::mount::mount_remount(&bundle, flags, "").unwrap();
            let composition = site.compose().unwrap();
            assert_eq!(composition.form, Form::Stack);
            assert!(
                composition.warnings[0].contains("read-only"),
                "{composition:?}"
            );

            fs::create_dir(site.path("nothing")).unwrap();
            let lower = format!(
                "lowerdir={}:{}",
                site.path("trees").display(),
                bundle.display()
            );
            // an overlay as state directory, as inside another container
            for name in ["o-upper", "o-work"] {
                fs::create_dir(site.path(name)).unwrap();
            }
            let upper = format!("upperdir={}", site.path("o-upper").display());
            let work = format!("workdir={}", site.path("o-work").display());
            mount_overlay(&[lower, upper, work], &site.path("state")).unwrap();
            let error = composition
                .prepare(&on(KernelVersion::running()))
                .unwrap_err();
            assert!(error.to_string().contains("lies on overlayfs"), "{error}");
            unmount(&site.path("state"));
            unmount(&bundle);
        },
    );
}

#[test]
fn kernel_takes_one_to_three_hundred_layers_and_long_paths() {
    in_private_namespace(
        "kernel_takes_one_to_three_hundred_layers_and_long_paths",
        || {
            for count in [1, 8, 64, 300] {
                let mut site = Site::new();
                for n in 0..count {
                    site.layer(
                        &format!("n{n}"),
                        &[(&format!("usr/f{n}"), "x"), ("usr/all", &n.to_string())],
                    );
                }
                drop(site.mount());
                assert_eq!(
                    fs::read_dir(site.path("merged/usr")).unwrap().count(),
                    count + 1
                );
                assert_eq!(site.read("usr/all").as_deref(), Some("0"));
                unmount(&site.path("merged"));
            }
            let mut site = Site::new();
            site.core();
            let deep = site.path(&format!("{0}/{0}:,\\/{0}", "d".repeat(200)));
            fs::create_dir_all(deep.parent().unwrap()).unwrap();
            fs::rename(site.path("trees"), &deep).unwrap();
            symlink(&deep, site.path("trees")).unwrap();
            let rootfs = deep.join("bundle/rootfs");
            write(&rootfs, "app", "the app");
            let composition = compose(&Inputs {
                id: &"i".repeat(1024),
                bundle: &deep.join("bundle"),
                rootfs: &rootfs,
                user_namespace: false,
                readonly: false,
                layers: &site.layers,
                tree: &|diff_id| deep.join(diff_id.hex()),
                scratch: &site.path("state"),
                mount_targets: &[],
            })
            .unwrap();
            let prepared = composition.prepare(&on(KernelVersion::running())).unwrap();
            mount_prepared(&prepared.options, &site.path("merged")).unwrap();
            // the links have done their work
            fs::remove_dir_all(site.path("state/overlay/l")).unwrap();
            write(&site.path("merged"), "new", "written");
            assert_eq!(site.read("app").as_deref(), Some("the app"));
            assert_eq!(site.read("bin/sh").as_deref(), Some("core's sh"));
            assert_eq!(fs::read_to_string(rootfs.join("new")).unwrap(), "written");
            unmount(&site.path("merged"));
        },
    );
}

#[test]
fn kernel_takes_the_list_that_older_kernels_get() {
    in_private_namespace("kernel_takes_the_list_that_older_kernels_get", || {
        let mut site = Site::new();
        for n in 0..7 {
            site.layer(
                &format!("n{n}"),
                &[(&format!("usr/f{n}"), "x"), ("usr/all", &n.to_string())],
            );
        }
        let prepared = site
            .compose()
            .unwrap()
            .prepare(&on(KernelVersion::new(6, 1)))
            .unwrap();
        assert!(
            prepared.options.list[0].starts_with("lowerdir="),
            "{:?}",
            prepared.options
        );
        assert!(prepared.options.directory.is_some());
        mount_prepared(&prepared.options, &site.path("merged")).unwrap();
        assert_eq!(fs::read_dir(site.path("merged/usr")).unwrap().count(), 8);
        assert_eq!(site.read("usr/all").as_deref(), Some("0"));
        unmount(&site.path("merged"));
    });
}

#[test]
fn kernel_follows_no_redirect_that_a_rootfs_carries() {
    in_private_namespace("kernel_follows_no_redirect_that_a_rootfs_carries", || {
        let mut site = Site::new();
        site.layer("secret", &[("root/key", "secret"), ("pub/file", "public")]);
        fs::create_dir(site.rootfs().join("pub")).unwrap();
        let redirected = site.rootfs().join("pub");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&redirected, "trusted.overlay.redirect", b"/root", flags).unwrap();
        let prepared = site.mount();
        assert!(!site.path("merged/pub/key").exists());
        unmount(&site.path("merged"));
        // the attack is real: with the kernel's permissive setting it works
        let options: Vec<_> = prepared
            .options
            .list
            .iter()
            .filter(|one| !one.starts_with("redirect_dir"))
            .cloned()
            .collect();
        let permissive = [options, vec!["redirect_dir=on".to_owned()]].concat();
        mount_overlay(&permissive, &site.path("merged")).unwrap();
        assert!(site.path("merged/pub/key").exists());
        unmount(&site.path("merged"));
    });
}
