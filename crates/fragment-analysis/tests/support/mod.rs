//! A library in memory, root filesystems in temporary directories, and programs compiled for the test.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "every test binary uses a part of this module"
)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fragment_analysis::{Analysis, AnalysisError, Task, analyse};
use fragment_sys::root::Root;
use fragment_types::catalogue::{CommandProvider, PathProvider, SonameProvider, TellingObject};
use fragment_types::manifest::{Machine, NeededSoname, PathKind};
use fragment_types::{
    Capability, Catalogue, CatalogueError, ComponentIndex, ComponentName, ComponentSummary, Digest,
    Need, Requirement, Strength,
};

/// A component of the library in memory.
#[derive(Debug)]
pub struct Component {
    pub summary: ComponentSummary,
    pub paths: Vec<(String, PathProvider)>,
    pub sonames: Vec<(String, SonameProvider)>,
    pub modules: Vec<String>,
}

/// A library in memory. Components are numbered in the order in which they are added.
#[derive(Debug, Default)]
pub struct Library(pub Vec<Component>);

impl Library {
    pub fn component(mut self, name: &str) -> Self {
        let summary = ComponentSummary {
            upstream_version: "1.0".into(),
            ..ComponentSummary::named(ComponentName::new(name).unwrap())
        };
        self.0.push(Component {
            summary,
            paths: vec![],
            sonames: vec![],
            modules: vec![],
        });
        self
    }

    fn last(&mut self) -> (ComponentIndex, &mut Component) {
        (
            ComponentIndex(self.0.len() as u32 - 1),
            self.0.last_mut().unwrap(),
        )
    }

    pub fn grants(mut self, capability: &str) -> Self {
        self.last()
            .1
            .summary
            .capabilities
            .insert(Capability::new(capability).unwrap());
        self
    }

    pub fn prefer(mut self, preference: i32) -> Self {
        self.last().1.summary.preference = preference;
        self
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        let (component, last) = self.last();
        let digest = Some(Digest::of(content));
        let size = content.len() as u64;
        let provider = PathProvider {
            component,
            kind: PathKind::File,
            size,
            digest,
            target: None,
        };
        last.paths.push((path.to_owned(), provider));
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        let (component, last) = self.last();
        let target = Some(target.to_owned());
        let provider = PathProvider {
            component,
            kind: PathKind::Symlink,
            size: 0,
            digest: None,
            target,
        };
        last.paths.push((path.to_owned(), provider));
        self
    }

    /// A module of a script language.
    pub fn module(mut self, language: &str, name: &str) -> Self {
        self.last().1.modules.push(format!("{language} {name}"));
        self
    }

    pub fn soname(mut self, soname: &str, path: &str, versions: &[&str]) -> Self {
        let (component, last) = self.last();
        let provider = SonameProvider {
            component,
            path: path.to_owned(),
            machine: Machine::X86_64,
            public: true,
            versions: versions
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
            needs: vec![],
        };
        last.sonames.push((soname.to_owned(), provider));
        self
    }

    /// The library of that soname needs `needs` and imports `imports`.
    pub fn telling(mut self, soname: &str, needs: &[&str], imports: &[&str]) -> Self {
        let (_, last) = self.last();
        let (_, provider) = last
            .sonames
            .iter_mut()
            .find(|(name, _)| name == soname)
            .unwrap();
        let needed = |name: &&str| NeededSoname {
            soname: (*name).to_owned(),
            machine: Machine::X86_64,
            versions: Default::default(),
        };
        provider.needs = needs.iter().map(needed).collect();
        last.summary.telling.push(TellingObject {
            path: provider.path.clone(),
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
        });
        self
    }

    pub fn needs(mut self, soname: &str, versions: &[&str]) -> Self {
        self.last().1.summary.needs.push(NeededSoname {
            soname: soname.to_owned(),
            machine: Machine::X86_64,
            versions: versions
                .iter()
                .map(|version| (*version).to_owned())
                .collect(),
        });
        self
    }

    fn indices(&self, holds: impl Fn(&Component) -> bool) -> Vec<ComponentIndex> {
        let holds = |index: &u32| holds(&self.0[*index as usize]);
        (0..self.0.len() as u32)
            .filter(holds)
            .map(ComponentIndex)
            .collect()
    }

    pub fn index(&self, name: &str) -> ComponentIndex {
        self.indices(|component| component.summary.name.as_str() == name)[0]
    }
}

impl Catalogue for Library {
    fn generation(&self) -> Digest {
        Digest::of(b"library")
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        let component = self.0.get(index.0 as usize);
        component
            .map(|component| component.summary.clone())
            .ok_or_else(|| CatalogueError {
                detail: "no such component".into(),
            })
    }

    fn named(&self, name: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(self.indices(|component| component.summary.name.as_str() == name))
    }

    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        let all = self.0.iter().flat_map(|component| &component.paths);
        Ok(all
            .filter(|(own, _)| own == path)
            .map(|(_, provider)| provider.clone())
            .collect())
    }

    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        let all = self.0.iter().flat_map(|component| &component.sonames);
        Ok(all
            .filter(|(own, _)| own == soname)
            .map(|(_, provider)| provider.clone())
            .collect())
    }

    fn providing_command(&self, name: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        let all = self.0.iter().flat_map(|component| &component.paths);
        Ok(all
            .filter(|(path, _)| {
                let (directory, own) = path.rsplit_once('/').unwrap();
                own == name && matches!(directory, "/usr/bin" | "/usr/sbin" | "/usr/local/bin")
            })
            .map(|(path, provider)| CommandProvider {
                component: provider.component,
                path: path.clone(),
            })
            .collect())
    }

    fn providing_module(
        &self,
        language: &str,
        name: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        let module = format!("{language} {name}");
        Ok(self.indices(|component| component.modules.contains(&module)))
    }

    fn granting(&self, capability: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        let grants = |component: &Component| {
            component
                .summary
                .capabilities
                .iter()
                .any(|own| own.as_str() == capability)
        };
        Ok(self.indices(grants))
    }

    fn holding_package(&self, _package: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        Ok(Vec::new())
    }
}

/// A library with a core and some commands.
pub fn library() -> Library {
    Library::default()
        .component("glibc")
        .file("/usr/bin/echo", b"other echo")
        .file("/usr/bin/getent", b"getent")
        .component("core")
        .grants("process_execution")
        .file("/usr/bin/busybox", b"busybox")
        .link("/usr/bin/echo", "busybox")
        .link("/usr/bin/sh", "busybox")
        .link("/usr/bin/env", "busybox")
        .file("/usr/lib64/ld-linux-x86-64.so.2", b"ld.so")
        .soname(
            "libc.so.6",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            &["GLIBC_2.2.5", "GLIBC_2.34"],
        )
        .component("python3")
        .file("/usr/bin/python3.11", b"python")
        .link("/usr/bin/python3", "python3.11")
        .component("curl")
        .file("/usr/bin/curl", b"curl")
        .component("tzdata")
        .file("/usr/share/zoneinfo/Europe/Berlin", b"tz")
        .file("/usr/share/zoneinfo/EST5EDT", b"tz")
}

/// A root filesystem in a temporary directory.
#[derive(Debug)]
pub struct Rootfs(tempfile::TempDir);

impl Rootfs {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn at(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> &Self {
        std::fs::write(self.at(path), content).unwrap();
        std::fs::set_permissions(self.at(path), PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    pub fn program(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.file(path, content, 0o755)
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        symlink(target, self.at(path)).unwrap();
        self
    }

    pub fn directory(&self, path: &str) -> &Self {
        std::fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    pub fn root(&self) -> Root {
        Root::open(self.0.path()).unwrap()
    }

    pub fn analyse(&self, argv: &[&str]) -> Result<Analysis, AnalysisError> {
        self.analyse_with(&task(argv, &[]), &library())
    }

    pub fn analyse_with(&self, task: &Task, library: &Library) -> Result<Analysis, AnalysisError> {
        let first = analyse(&self.root(), task, library);
        if let Ok(first) = &first {
            let second = analyse(&self.root(), task, library).unwrap();
            assert_eq!(*first, second, "the same input gives the same answer");
            for requirement in &first.requirements {
                assert!(!requirement.chain.is_empty(), "{requirement:?}");
                assert_eq!(requirement.chain[0].source, "argv[0]", "{requirement:?}");
            }
        }
        first
    }

    /// The error as one text, causes included.
    pub fn error(&self, argv: &[&str]) -> String {
        let error = self.analyse(argv).unwrap_err();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
    }
}

pub fn task(argv: &[&str], env: &[&str]) -> Task {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Task {
        argv: own(argv),
        env: own(env),
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        terminal: false,
    }
}

/// What is missing, as `hard …` or `soft …`, sorted.
pub fn missing(analysis: &Analysis) -> Vec<String> {
    let mut out: Vec<String> = analysis
        .requirements
        .iter()
        .filter(|r| r.is_missing())
        .map(label)
        .collect();
    out.sort();
    out
}

pub fn label(requirement: &Requirement) -> String {
    let strength = match requirement.strength {
        Strength::Hard => "hard",
        Strength::Soft => "soft",
    };
    let need = match &requirement.need {
        Need::Soname(needed) if !needed.versions.is_empty() => {
            let versions: Vec<&str> = needed.versions.iter().map(String::as_str).collect();
            format!("{} {}", needed.soname, versions.join(","))
        }
        need => need.to_string(),
    };
    format!("{strength} {need}")
}

/// Compiles C with the machine's gcc. The fixtures cannot be had otherwise, so a machine without gcc fails the test.
pub fn gcc(directory: &Path, output: &str, source: &str, flags: &[&str]) -> PathBuf {
    let output = directory.join(output);
    std::fs::create_dir_all(output.parent().unwrap()).unwrap();
    let input = output.with_extension("c");
    std::fs::write(&input, source).unwrap();
    let result = Command::new("gcc")
        .current_dir(directory)
        .arg("-o")
        .arg(&output)
        .arg(&input)
        .args(flags)
        .output()
        .expect("this test compiles its fixtures: install gcc and libc6-dev");
    assert!(
        result.status.success(),
        "{}",
        String::from_utf8_lossy(&result.stderr)
    );
    std::fs::remove_file(input).unwrap();
    output
}

/// Soft requirements that the bundle lacks.
pub fn soft(rootfs: &Rootfs, argv: &[&str], library: &Library) -> Vec<String> {
    let analysis = rootfs.analyse_with(&task(argv, &[]), library).unwrap();
    missing(&analysis)
        .into_iter()
        .filter_map(|label| label.strip_prefix("soft ").map(str::to_owned))
        .collect()
}
