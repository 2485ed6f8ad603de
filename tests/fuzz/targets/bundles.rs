//! Whole bundles: a command line and files under the names by which analysis finds them (descriptions of builds, configuration,
//! documents, texts of programs), against a library that has whatever is asked for. Analysis ends, and says the same twice.
#![no_main]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use fragment_analysis::{Task, analyse_whole};
use fragment_sys::root::Root;
use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider};
use fragment_types::manifest::{Machine, PathKind};
use fragment_types::{
    Catalogue, CatalogueError, ComponentIndex, ComponentName, ComponentSummary, Digest,
};

/// Files of a bundle. A section of the input that begins with `%%` and a letter is the file of that letter's place here.
const FILES: &[&str] = &[
    "/app/run",
    "/app/Makefile",
    "/app/CMakeLists.txt",
    "/app/CMakeCache.txt",
    "/app/meson.build",
    "/app/build.ninja",
    "/app/configure",
    "/app/configure.ac",
    "/app/Makefile.am",
    "/app/Makefile.in",
    "/app/SConstruct",
    "/app/main.c",
    "/app/main.py",
    "/app/main.pl",
    "/app/main.rb",
    "/app/main.js",
    "/app/main.php",
    "/app/main.lua",
    "/app/main.tcl",
    "/app/main.R",
    "/app/main.qml",
    "/app/main.xml",
    "/app/main.tex",
    "/app/main.vala",
    "/app/main.pc",
    "/app/package.json",
    "/app/pyvenv.cfg",
    "/app/script.sh",
    "/app/lib.so.1",
    "/etc/ld.so.conf",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pam.d/app",
    "/etc/os-release",
    "/usr/bin/tool",
    "/usr/lib/x86_64-linux-gnu/pkgconfig/app.pc",
    "/usr/share/texmf/web2c/texmf.cnf",
    "/var/lib/dpkg/status",
];
/// Requirements that no analysis has more of: its limits are lower by far.
const MAX_REQUIREMENTS: usize = 20_000;
const CORE: ComponentIndex = ComponentIndex(0);
const REST: ComponentIndex = ComponentIndex(1);

/// A library that has every name but those with a `q` in them.
struct Everything;

fn has(name: &str) -> bool {
    !name.contains('q')
}

impl Catalogue for Everything {
    fn generation(&self) -> Digest {
        Digest::of(b"everything")
    }

    fn len(&self) -> usize {
        2
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        let name = if index == CORE { "core" } else { "rest" };
        Ok(ComponentSummary::named(ComponentName::new(name).expect("a name")))
    }

    fn named(&self, name: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(has(name).then_some(REST).into_iter().collect())
    }

    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        let link = path.ends_with('k');
        let provider = PathProvider {
            component: if path.len() % 5 == 0 { CORE } else { REST },
            kind: match link {
                true => PathKind::Symlink,
                false => PathKind::File,
            },
            size: 1,
            digest: (!link).then(|| Digest::of(path.as_bytes())),
            target: link.then(|| "target".to_owned()),
        };
        Ok(has(path).then_some(provider).into_iter().collect())
    }

    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        let provider = SonameProvider {
            component: REST,
            path: format!("/usr/lib/x86_64-linux-gnu/{soname}"),
            machine: Machine::X86_64,
            public: true,
            versions: Default::default(),
            needs: Vec::new(),
        };
        Ok(has(soname).then_some(provider).into_iter().collect())
    }

    fn providing_command(&self, name: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        let provider = CommandProvider {
            component: REST,
            path: format!("/usr/bin/{name}"),
        };
        Ok(has(name).then_some(provider).into_iter().collect())
    }

    fn providing_module(
        &self,
        _language: &str,
        name: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(has(name).then_some(REST).into_iter().collect())
    }

    fn granting(&self, _capability: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(vec![REST])
    }

    fn holding_package(&self, package: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(has(package).then_some(REST).into_iter().collect())
    }
}

/// The rootfs of this process, in TMPDIR: made once, its files anew for every input.
fn rootfs() -> &'static PathBuf {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let top = std::env::temp_dir().join(format!("bundle-{}", std::process::id()));
        for file in FILES {
            let directory = place(&top, file).parent().expect("a directory").to_owned();
            std::fs::create_dir_all(directory).expect("a directory of the rootfs");
        }
        top
    })
}

fn place(top: &std::path::Path, file: &str) -> PathBuf {
    top.join(file.trim_start_matches('/'))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut sections = text.split("\n%%");
    let argv: Vec<String> = sections
        .next()
        .unwrap_or_default()
        .split('\n')
        .map(|word| word.replace('\0', ""))
        .collect();
    let top = rootfs();
    let mut written = Vec::new();
    for section in sections {
        let mut letters = section.chars();
        let Some(letter) = letters.next() else {
            continue;
        };
        let file = FILES[(letter as usize).wrapping_sub('A' as usize) % FILES.len()];
        let path = place(top, file);
        std::fs::write(&path, letters.as_str()).expect("a file of the rootfs");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("its mode");
        written.push(path);
    }
    let task = Task {
        argv,
        env: vec!["HOME=/root".into(), "CC=tool".into()],
        cwd: "/app".into(),
        uid: 0,
        gid: 0,
        terminal: bytes.len() % 2 == 0,
    };
    let root = Root::open(top).expect("the rootfs");
    let once = analyse_whole(&root, &task, &Everything);
    let again = analyse_whole(&root, &task, &Everything);
    for path in written {
        std::fs::remove_file(path).ok();
    }
    match (once, again) {
        (Ok(once), Ok(again)) => {
            assert!(once.requirements.len() <= MAX_REQUIREMENTS);
            assert!(once.requirements.iter().all(|found| !found.chain.is_empty()));
            assert_eq!(once, again, "the same input gives the same answer");
        }
        (Err(once), Err(again)) => assert_eq!(once.to_string(), again.to_string()),
        (once, again) => panic!("once {once:?}, again {again:?}"),
    }
});
