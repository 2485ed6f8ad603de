//! A library in memory.
#![allow(dead_code, reason = "each test binary uses its own part")]

use fragment_types::catalogue::{CatalogueError, CommandProvider, PathProvider, SonameProvider};
use fragment_types::manifest::{Machine, NeededSoname, PathKind, Size};
use fragment_types::{
    Capability, Catalogue, ComponentIndex, ComponentName, ComponentSummary, Digest,
};
use semver::Version;

#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) summary: ComponentSummary,
    paths: Vec<PathProvider>,
    paths_at: Vec<String>,
    sonames: Vec<(String, SonameProvider)>,
    commands: Vec<(String, String)>,
    modules: Vec<(String, String)>,
    packages: Vec<String>,
}

pub(crate) fn name(text: &str) -> ComponentName {
    ComponentName::new(text).unwrap()
}

pub(crate) fn capability(text: &str) -> Capability {
    Capability::new(text).unwrap()
}

pub(crate) fn needed(soname: &str, versions: &[&str]) -> NeededSoname {
    NeededSoname {
        soname: soname.to_owned(),
        machine: Machine::X86_64,
        versions: versions.iter().map(|&v| v.to_owned()).collect(),
    }
}

/// A component of `stored` bytes.
pub(crate) fn component(text: &str, stored: u64) -> Component {
    Component {
        summary: ComponentSummary {
            diff_id: Digest::of(format!("tree of {text}").as_bytes()),
            size: Size {
                plain: stored * 3,
                stored,
                entries: 1,
            },
            ..ComponentSummary::named(name(text))
        },
        paths: Vec::new(),
        paths_at: Vec::new(),
        sonames: Vec::new(),
        commands: Vec::new(),
        modules: Vec::new(),
        packages: Vec::new(),
    }
}

impl Component {
    pub(crate) fn sonames(&self) -> &[(String, SonameProvider)] {
        &self.sonames
    }

    fn path(
        mut self,
        at: &str,
        kind: PathKind,
        content: Option<&str>,
        target: Option<&str>,
    ) -> Self {
        self.paths_at.push(at.to_owned());
        self.paths.push(PathProvider {
            component: ComponentIndex(0),
            kind,
            size: 1,
            digest: content.map(|text| Digest::of(text.as_bytes())),
            target: target.map(str::to_owned),
        });
        self
    }

    pub(crate) fn file(self, at: &str, content: &str) -> Self {
        self.path(at, PathKind::File, Some(content), None)
    }

    pub(crate) fn directory(self, at: &str) -> Self {
        self.path(at, PathKind::Directory, None, None)
    }

    pub(crate) fn link(self, at: &str, target: &str) -> Self {
        self.path(at, PathKind::Symlink, None, Some(target))
    }

    /// A command of `/usr/bin` with content of its own.
    pub(crate) fn command(mut self, text: &str) -> Self {
        let at = format!("/usr/bin/{text}");
        self.commands.push((text.to_owned(), at.clone()));
        let content = format!("{text} of {}", self.summary.name);
        self.file(&at, &content)
    }

    /// A command of `/usr/bin` that is a link.
    pub(crate) fn command_link(mut self, text: &str, target: &str) -> Self {
        let at = format!("/usr/bin/{text}");
        self.commands.push((text.to_owned(), at.clone()));
        self.link(&at, target)
    }

    fn soname_at(mut self, soname: &str, versions: &[&str], dir: &str, public: bool) -> Self {
        let path = format!("{dir}/{soname}");
        self.sonames.push((
            soname.to_owned(),
            SonameProvider {
                component: ComponentIndex(0),
                path: path.clone(),
                machine: Machine::X86_64,
                public,
                versions: needed(soname, versions).versions,
                needs: Vec::new(),
            },
        ));
        let content = format!("{soname} {versions:?} of {}", self.summary.name);
        self.file(&path, &content)
    }

    pub(crate) fn soname(self, soname: &str, versions: &[&str]) -> Self {
        self.soname_at(soname, versions, "/usr/lib", true)
    }

    pub(crate) fn private_soname(self, soname: &str) -> Self {
        self.soname_at(soname, &[], "/usr/lib/private", false)
    }

    /// The soname with a content that does not depend on the component.
    pub(crate) fn shared_soname(mut self, soname: &str) -> Self {
        self = self.soname(soname, &[]);
        self.paths.last_mut().unwrap().digest = Some(Digest::of(soname.as_bytes()));
        self
    }

    pub(crate) fn module(mut self, language: &str, text: &str) -> Self {
        self.modules.push((language.to_owned(), text.to_owned()));
        self
    }

    pub(crate) fn grants(mut self, text: &str) -> Self {
        self.summary.capabilities.insert(capability(text));
        self
    }

    pub(crate) fn requires(mut self, text: &str) -> Self {
        self.summary.requires.insert(name(text));
        self
    }

    pub(crate) fn needs(mut self, soname: &str, versions: &[&str]) -> Self {
        self.summary.needs.push(needed(soname, versions));
        self
    }

    pub(crate) fn conflicts(mut self, text: &str) -> Self {
        self.summary.conflicts.insert(name(text));
        self
    }

    pub(crate) fn alias(mut self, text: &str) -> Self {
        self.summary.aliases.insert(name(text));
        self
    }

    pub(crate) fn prefer(mut self, preference: i32) -> Self {
        self.summary.preference = preference;
        self
    }

    pub(crate) fn version(mut self, major: u64) -> Self {
        self.summary.version = Version::new(major, 0, 0);
        let text = format!("{} {major}", self.summary.name);
        self.summary.digest = Digest::of(text.as_bytes());
        self
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Library(pub(crate) Vec<Component>);

impl Library {
    fn all<T>(
        &self,
        find: impl Fn(ComponentIndex, &Component) -> Vec<T>,
    ) -> Result<Vec<T>, CatalogueError> {
        Ok(self
            .0
            .iter()
            .enumerate()
            .flat_map(|(at, one)| find(ComponentIndex(u32::try_from(at).unwrap()), one))
            .collect())
    }

    fn which(
        &self,
        test: impl Fn(&Component) -> bool,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.all(|index, one| if test(one) { vec![index] } else { Vec::new() })
    }

    pub(crate) fn get(&self, index: ComponentIndex) -> &Component {
        &self.0[index.0 as usize]
    }
}

impl Catalogue for Library {
    fn generation(&self) -> Digest {
        Digest::of(b"memory")
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn component(&self, index: ComponentIndex) -> Result<ComponentSummary, CatalogueError> {
        self.0
            .get(index.0 as usize)
            .map(|one| one.summary.clone())
            .ok_or_else(|| CatalogueError {
                detail: "out of range".to_owned(),
            })
    }

    fn named(&self, text: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.which(|one| {
            one.summary.name.as_str() == text
                || one
                    .summary
                    .aliases
                    .iter()
                    .any(|alias| alias.as_str() == text)
        })
    }

    fn providing_path(&self, path: &str) -> Result<Vec<PathProvider>, CatalogueError> {
        self.all(|component, one| {
            let pairs = one.paths_at.iter().zip(&one.paths);
            pairs
                .filter(|(at, _)| *at == path)
                .map(|(_, provider)| PathProvider {
                    component,
                    ..provider.clone()
                })
                .collect()
        })
    }

    fn providing_soname(&self, soname: &str) -> Result<Vec<SonameProvider>, CatalogueError> {
        self.all(|component, one| {
            let matching = one.sonames.iter().filter(|(text, _)| text == soname);
            matching
                .map(|(_, provider)| SonameProvider {
                    component,
                    ..provider.clone()
                })
                .collect()
        })
    }

    fn providing_command(&self, text: &str) -> Result<Vec<CommandProvider>, CatalogueError> {
        self.all(|component, one| {
            let matching = one.commands.iter().filter(|(name, _)| name == text);
            matching
                .map(|(_, path)| CommandProvider {
                    component,
                    path: path.clone(),
                })
                .collect()
        })
    }

    fn providing_module(
        &self,
        language: &str,
        text: &str,
    ) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.which(|one| one.modules.iter().any(|(l, m)| l == language && m == text))
    }

    fn granting(&self, text: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.which(|one| one.summary.capabilities.iter().any(|c| c.as_str() == text))
    }

    fn holding_package(&self, package: &str) -> Result<Vec<ComponentIndex>, CatalogueError> {
        self.which(|one| one.packages.iter().any(|p| p == package))
    }
}
