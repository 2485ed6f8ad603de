//! What is made for a composition: the decision, and the layer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use fragment_compose::generated::{Decision, GeneratedError, decide, layer};
use fragment_sys::root::Root;
use fragment_types::catalogue::{CachedObject, CommandProvider, PathProvider, SonameProvider};
use fragment_types::manifest::{Account, Machine, PathKind, Size};
use fragment_types::plan::{Layer, PartKind, Reason};
use fragment_types::{
    Catalogue, CatalogueError, ComponentIndex, ComponentName, ComponentSummary, Digest,
};
use tempfile::TempDir;

/// Trees of components, topmost first, and a rootfs. The catalogue of the components is what the trees hold.
struct Site {
    directory: TempDir,
    layers: Vec<Layer>,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("rootfs")).unwrap();
        Self {
            directory,
            layers: Vec::new(),
        }
    }

    fn tree(&self, diff_id: &Digest) -> PathBuf {
        self.directory.path().join(diff_id.hex())
    }

    fn layer(&mut self, name: &str, files: &[(&str, &str)]) -> &mut Layer {
        let diff_id = Digest::of(name.as_bytes());
        let tree = self.tree(&diff_id);
        fs::create_dir(&tree).unwrap();
        for (path, content) in files {
            write(&tree, path, content);
        }
        self.layers.push(Layer {
            name: ComponentName::new(name).unwrap(),
            version: semver::Version::new(1, 0, 0),
            upstream_version: "1".to_owned(),
            digest: diff_id,
            diff_id,
            size: Size::default(),
            capabilities: std::collections::BTreeSet::new(),
            accounts: Vec::new(),
            cached: Vec::new(),
            reasons: vec![Reason::Core],
        });
        self.layers.last_mut().unwrap()
    }

    /// Core, and above it redis with a user.
    fn with_redis() -> Self {
        let mut site = Self::new();
        let passwd = "redis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n";
        let redis = [("etc/passwd", passwd), ("etc/group", "redis:x:101:\n")];
        site.layer("redis", &redis).accounts = vec![account("redis", 100, 101)];
        site.layer(
            "core",
            &[
                ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
                ("etc/group", "root:x:0:\n"),
                ("usr/bin/sh", "sh"),
                ("usr/lib/x86_64-linux-gnu/libc.so.6", "libc"),
            ],
        );
        site
    }

    fn rootfs(&self) -> PathBuf {
        self.directory.path().join("rootfs")
    }

    fn decide(&self) -> Result<Decision, GeneratedError> {
        let chosen: Vec<_> = (0..self.layers.len())
            .map(|index| ComponentIndex(u32::try_from(index).unwrap()))
            .collect();
        let root = Root::open(self.rootfs()).unwrap();
        decide(&root, self, &chosen, &self.layers)
    }

    /// Paths of the parts, and where they are made.
    fn made(&self) -> (Vec<String>, PathBuf) {
        let generated = self.decide().unwrap().generated.unwrap();
        let target = self.directory.path().join("made");
        fs::create_dir(&target).unwrap();
        layer::make(&generated, &|diff_id| self.tree(diff_id), &target).unwrap();
        let paths = generated.parts.into_iter().map(|part| part.path).collect();
        (paths, target)
    }
}

impl Catalogue for Site {
    fn generation(&self) -> Digest {
        Digest::of(b"")
    }

    fn len(&self) -> usize {
        self.layers.len()
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        unreachable!("{index:?}: everything stands in the layers")
    }

    fn named(&self, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }

    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        let mut providers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let path = self.tree(&layer.diff_id).join(path.trim_start_matches('/'));
            if let Ok(metadata) = path.symlink_metadata() {
                providers.push(PathProvider {
                    component: ComponentIndex(u32::try_from(index).unwrap()),
                    kind: if metadata.is_dir() {
                        PathKind::Directory
                    } else {
                        PathKind::File
                    },
                    size: metadata.len(),
                    digest: None,
                    target: None,
                });
            }
        }
        Ok(providers)
    }

    fn providing_soname(&self, _: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        Ok(Vec::new())
    }

    fn providing_command(&self, _: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        Ok(Vec::new())
    }

    fn providing_module(&self, _: &str, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }

    fn granting(&self, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }

    fn holding_package(&self, _: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }
}

fn write(tree: &Path, path: &str, content: &str) {
    let path = tree.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn account(name: &str, uid: u32, gid: u32) -> Account {
    Account {
        name: name.to_owned(),
        uid,
        gid,
    }
}

#[test]
fn one_list_of_users_needs_no_other() {
    let mut site = Site::new();
    site.layer("top", &[("usr/bin/top", "")]);
    site.layer("core", &[("etc/passwd", "root:x:0:0:::\n")]);
    assert_eq!(site.decide().unwrap(), Decision::default());
}

#[test]
fn lists_of_several_layers_are_united() {
    let site = Site::with_redis();
    fs::set_permissions(
        site.tree(&Digest::of(b"core")).join("etc/group"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let (paths, made) = site.made();
    assert_eq!(paths, ["/etc/passwd", "/etc/group"]);
    assert_eq!(
        fs::read_to_string(made.join("etc/passwd")).unwrap(),
        "root:x:0:0:root:/root:/bin/sh\nredis:x:100:101::/var/lib/redis:/usr/sbin/nologin\n"
    );
    let group = made.join("etc/group");
    assert_eq!(
        fs::read_to_string(&group).unwrap(),
        "root:x:0:\nredis:x:101:\n"
    );
    assert_eq!(
        group.metadata().unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(
        made.join("etc").metadata().unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[test]
fn passwords_are_united_too() {
    let site = Site::with_redis();
    let (core, redis) = (Digest::of(b"core"), Digest::of(b"redis"));
    write(&site.tree(&core), "etc/shadow", "root:*:1:0:99999:7:::\n");
    write(&site.tree(&redis), "etc/shadow", "redis:!:1::::::\n");
    write(&site.tree(&redis), "etc/gshadow", "redis:!::\n");
    let (paths, made) = site.made();
    assert_eq!(paths, ["/etc/passwd", "/etc/group", "/etc/shadow"]);
    assert_eq!(
        fs::read_to_string(made.join("etc/shadow")).unwrap(),
        "root:*:1:0:99999:7:::\nredis:!:1::::::\n"
    );
}

#[test]
fn what_is_made_depends_on_the_layers_it_is_made_from_alone() {
    let site = Site::with_redis();
    let first = site.decide().unwrap().generated.unwrap();
    let mut more = Site::new();
    more.layer("other", &[("usr/bin/other", "")]);
    let mut both = Site::with_redis();
    both.layers.insert(0, more.layers.remove(0));
    fs::create_dir(both.tree(&Digest::of(b"other"))).unwrap();
    assert_eq!(both.decide().unwrap().generated.unwrap(), first);
    write(
        &both.tree(&Digest::of(b"other")),
        "etc/passwd",
        "x:x:1:1:::\n",
    );
    assert_ne!(
        both.decide().unwrap().generated.unwrap().digest,
        first.digest
    );
}

#[test]
fn a_list_of_the_rootfs_wins_and_what_it_lacks_is_told() {
    let site = Site::with_redis();
    for (passwd, warning) in [
        (
            "root:x:0:0:::\n",
            Some("without the user redis (100), which component redis needs"),
        ),
        (
            "redis:x:999:999:::\n",
            Some("in which the user redis is 999: files of component redis belong to 100"),
        ),
        ("redis:x:100:1:::\n", None),
        ("\0\u{fffd}", Some("without the user redis")),
    ] {
        write(&site.rootfs(), "etc/passwd", passwd);
        let decision = site.decide().unwrap();
        let parts = decision.generated.unwrap().parts;
        assert_eq!(parts.len(), 1, "{parts:?}");
        assert_eq!(parts[0].path, "/etc/group");
        match warning {
            Some(warning) => assert!(
                decision.warnings[0].contains(warning),
                "{:?}",
                decision.warnings
            ),
            None => assert!(decision.warnings.is_empty()),
        }
    }
    // one that leads out of the rootfs is no list
    fs::remove_file(site.rootfs().join("etc/passwd")).unwrap();
    symlink("/../../etc/passwd", site.rootfs().join("etc/passwd")).unwrap();
    assert_eq!(site.decide().unwrap().warnings.len(), 1);
}

#[test]
fn two_users_with_one_number_are_refused_with_their_names() {
    for (other, expected) in [
        (
            account("web", 100, 102),
            "the user id 100 is web in one and redis in the other",
        ),
        (
            account("web", 102, 101),
            "the group id 101 is web in one and redis in the other",
        ),
        (
            account("redis", 102, 102),
            "the user redis is 102:102 in one and 100:101 in the other",
        ),
    ] {
        let mut web = Site::new();
        web.layer("web", &[]).accounts = vec![other];
        let mut site = Site::with_redis();
        site.layers.insert(0, web.layers.remove(0));
        let error = site.decide().unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("`web` and `redis`"),
            "{error}"
        );
    }
}

#[test]
fn libraries_that_the_loader_does_not_find_by_itself_get_a_cache() {
    let object = |path: &str| CachedObject {
        soname: "libown.so.1".to_owned(),
        path: path.to_owned(),
        machine: Machine::X86_64,
    };
    let mut site = Site::new();
    site.layer("above", &[]).cached = vec![object("/opt/above/libown.so.1")];
    site.layer("below", &[]).cached = vec![object("/opt/below/libown.so.1")];
    let generated = site.decide().unwrap().generated.unwrap();
    let PartKind::LoaderCache { objects } = &generated.parts[0].kind else {
        panic!("{generated:?}");
    };
    assert_eq!(
        objects,
        &[object("/opt/above/libown.so.1")],
        "the topmost layer's"
    );
    let (_, made) = site.made();
    let cache = fs::read(made.join("etc/ld.so.cache")).unwrap();
    assert!(cache.starts_with(b"glibc-ld.so.cache1.1"));

    write(&site.rootfs(), "etc/ld.so.cache", "");
    let decision = site.decide().unwrap();
    assert_eq!(decision.generated, None);
    assert!(
        decision.warnings[0].contains("/opt/above/libown.so.1"),
        "{:?}",
        decision.warnings
    );
}

#[test]
fn directories_of_the_rootfs_are_bridged_to_those_below_usr() {
    let mut site = Site::with_redis();
    for path in [
        "bin/own",
        "lib/x86_64-linux-gnu/libown.so",
        "lib/firmware/x",
    ] {
        write(&site.rootfs(), path, "");
    }
    write(
        &site.tree(&Digest::of(b"redis")),
        "usr/bin/redis-server",
        "",
    );
    write(&site.tree(&Digest::of(b"core")), "usr/lib/os-release", "");
    let (paths, made) = site.made();
    assert_eq!(
        paths[2..],
        ["/bin", "/lib", "/lib/x86_64-linux-gnu"],
        "firmware is the rootfs' alone"
    );
    let links = |directory: &str| {
        let mut links: Vec<String> = fs::read_dir(made.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| match fs::read_link(&path) {
                Ok(target) => target.display().to_string(),
                Err(_) => format!("{}/", path.file_name().unwrap().display()),
            })
            .collect();
        links.sort();
        links
    };
    assert_eq!(links("bin"), ["../usr/bin/redis-server", "../usr/bin/sh"]);
    assert_eq!(links("lib"), ["../usr/lib/os-release", "x86_64-linux-gnu/"]);
    assert_eq!(
        links("lib/x86_64-linux-gnu"),
        ["../../usr/lib/x86_64-linux-gnu/libc.so.6"]
    );
    // a rootfs with links, as most have them, needs none
    fs::remove_dir_all(site.rootfs().join("bin")).unwrap();
    fs::remove_dir_all(site.rootfs().join("lib")).unwrap();
    symlink("usr/bin", site.rootfs().join("bin")).unwrap();
    assert_eq!(site.decide().unwrap().generated.unwrap().parts.len(), 2);
    site.layers.truncate(0);
    assert_eq!(site.decide().unwrap(), Decision::default());
}

#[test]
fn more_directories_than_can_be_bridged_are_refused() {
    let mut site = Site::new();
    site.layer("core", &[]);
    for number in 0..300 {
        let name = format!("lib/d{number}");
        fs::create_dir_all(site.rootfs().join(&name)).unwrap();
        fs::create_dir_all(site.tree(&Digest::of(b"core")).join("usr").join(&name)).unwrap();
    }
    let error = site.decide().unwrap_err().to_string();
    assert!(error.contains("ln -s usr/lib /lib"), "{error}");
}

/// The distribution's own loader (packages libc6 and gcc), in a root that holds it, a program and its library.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_loader_finds_what_its_cache_names() {
    use std::process::Command;

    if !rustix::process::geteuid().is_root() {
        println!("skipped the_loader_finds_what_its_cache_names: chroot(8) needs root");
        return;
    }
    let mut site = Site::new();
    let root = site.directory.path().join("root");
    for (from, to) in [
        ("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        (
            "/lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libc.so.6",
        ),
    ] {
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        fs::copy(from, root.join(to)).unwrap();
    }
    write(&root, "opt/own/own.c", "int own(void) { return 42; }\n");
    write(
        &root,
        "app.c",
        "int own(void);\nint main(void) { return own(); }\n",
    );
    for arguments in [
        "-shared -fPIC -Wl,-soname,libown.so.1 -o opt/own/libown.so.1 opt/own/own.c",
        "-o app app.c opt/own/libown.so.1",
    ] {
        let status = Command::new("gcc")
            .current_dir(&root)
            .args(arguments.split(' '))
            .status();
        assert!(status.unwrap().success(), "{arguments}");
    }
    let run = || {
        Command::new("chroot")
            .arg(&root)
            .arg("/app")
            .output()
            .unwrap()
    };
    assert_eq!(run().status.code(), Some(127), "without a cache");
    site.layer("own", &[]).cached = vec![CachedObject {
        soname: "libown.so.1".to_owned(),
        path: "/opt/own/libown.so.1".to_owned(),
        machine: Machine::X86_64,
    }];
    let (_, made) = site.made();
    fs::create_dir(root.join("etc")).unwrap();
    fs::copy(made.join("etc/ld.so.cache"), root.join("etc/ld.so.cache")).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(42), "{output:?}");
}
