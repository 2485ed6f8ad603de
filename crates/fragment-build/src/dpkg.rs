//! The package database of an installed root: packages, dependencies, file lists, diversions, alternatives.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::path::merged_usr;

use crate::error::{Error, Result};
use crate::root::Root;

/// Largest database file read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// An installed package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installed {
    pub(crate) version: String,
    pub(crate) source: String,
    /// Version of the source package, where it differs from `version`.
    pub(crate) source_version: Option<String>,
    pub(crate) architecture: String,
    pub(crate) maintainer: String,
    /// The whole paragraph, as dpkg wrote it.
    pub(crate) paragraph: String,
    /// Pre-Depends and Depends: each is satisfied by one of its names.
    pub(crate) depends: Vec<Vec<String>>,
    /// Conflicts and Breaks, as written.
    pub(crate) refuses: String,
    /// Provides, as written.
    pub(crate) provided: String,
    /// Whether every root has it, so that nobody names it in Depends (Debian Policy 3.8).
    pub(crate) essential: bool,
    /// `required`, `important`, `standard`, `optional` or `extra`.
    pub(crate) priority: String,
    /// The first line of the description.
    pub(crate) summary: String,
    /// Its paragraph of `status`.
    pub(crate) stanza: String,
    /// Elements of GStreamer that its plug-ins have (the field is made by dh_gstscancodecs(1)).
    pub(crate) elements: Vec<String>,
    provides: Vec<String>,
}

/// Where a package's file went because another package diverted it (dpkg-divert(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Diversion {
    to: String,
    by: String,
}

/// A name that the alternatives system keeps as a link (update-alternatives(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    /// The link users see, such as `/usr/bin/awk`.
    pub(crate) link: String,
    /// Its target below `/etc/alternatives`.
    pub(crate) middle: String,
    /// What it can lead to: a file for each choice that has one.
    pub(crate) choices: Vec<String>,
}

/// The package database of a root.
#[derive(Debug, Default)]
pub(crate) struct Database {
    packages: BTreeMap<String, Installed>,
    /// Virtual package -> packages that provide it.
    providers: BTreeMap<String, BTreeSet<String>>,
    diversions: BTreeMap<String, Diversion>,
    pub(crate) alternatives: Vec<Alternative>,
    /// Package -> its paths in the merged-/usr spelling, diversions applied.
    files: BTreeMap<String, Vec<String>>,
    /// Path -> the packages that list it.
    owners: BTreeMap<String, Vec<String>>,
}

impl Database {
    /// Reads the database of `root`.
    ///
    /// # Errors
    /// [`Error::ReadRoot`] and [`Error::Database`].
    pub(crate) fn read(root: &Root) -> Result<Self> {
        let mut database = Self::default();
        database.renew(root)?;
        Ok(database)
    }

    /// Reads the database of `root` again, which has grown: file lists of packages that were there are not read twice.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub(crate) fn renew(&mut self, root: &Root) -> Result<()> {
        let known = std::mem::take(&mut self.packages);
        for stanza in text(root, "/var/lib/dpkg/status")?.split("\n\n") {
            if let Some((name, package)) = parse_stanza(stanza) {
                self.packages.insert(name, package);
            }
        }
        self.providers.clear();
        for (name, package) in &self.packages {
            for virtual_name in &package.provides {
                self.providers
                    .entry(virtual_name.clone())
                    .or_default()
                    .insert(name.clone());
            }
        }
        let diversions = parse_diversions(&text(root, "/var/lib/dpkg/diversions")?);
        self.alternatives = read_alternatives(root)?;
        let is_known = |name: &String, package: &Installed| {
            known
                .get(name)
                .is_some_and(|k| k.version == package.version)
        };
        let only_grown = self.diversions == diversions
            && known.iter().all(|(name, k)| {
                self.packages
                    .get(name)
                    .is_some_and(|p| p.version == k.version)
            });
        self.diversions = diversions;
        let mut unread: Vec<String> = self.packages.keys().cloned().collect();
        if only_grown {
            unread.retain(|name| !is_known(name, &self.packages[name]));
        } else {
            self.files.clear();
            self.owners.clear();
        }
        self.read_lists(root, &unread)
    }

    /// The packages that provide a virtual one.
    pub(crate) fn providers(&self, name: &str) -> impl Iterator<Item = &String> {
        self.providers.get(name).into_iter().flatten()
    }

    /// All packages.
    pub(crate) fn packages(&self) -> impl Iterator<Item = (&String, &Installed)> {
        self.packages.iter()
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Installed> {
        self.packages.get(name)
    }

    /// The paths of a package.
    pub(crate) fn files(&self, package: &str) -> &[String] {
        self.files.get(package).map_or(&[], Vec::as_slice)
    }

    /// Where the file that `package` lists as `path` is: merged-/usr spelling, diversions applied.
    pub(crate) fn place(&self, package: &str, path: &str) -> String {
        let path = merged_usr(path);
        match self.diversions.get(path.as_ref()) {
            Some(diversion) if diversion.by != package => diversion.to.clone(),
            _ => path.into_owned(),
        }
    }

    /// The packages that list `path`.
    pub(crate) fn owners(&self, path: &str) -> &[String] {
        self.owners.get(path).map_or(&[], Vec::as_slice)
    }

    /// The installed package that satisfies one of `alternatives`, the first in order.
    pub(crate) fn satisfier<'a>(&'a self, alternatives: &'a [String]) -> Option<&'a str> {
        alternatives
            .iter()
            .find(|name| self.packages.contains_key(*name))
            .or_else(|| {
                alternatives
                    .iter()
                    .find_map(|name| self.providers.get(name)?.first())
            })
            .map(String::as_str)
    }

    fn read_lists(&mut self, root: &Root, names: &[String]) -> Result<()> {
        for name in names {
            let package = &self.packages[name];
            // packages with `Multi-Arch: same` have the architecture in the file name
            let with_architecture =
                format!("/var/lib/dpkg/info/{name}:{}.list", package.architecture);
            let list = match text(root, &with_architecture) {
                Ok(list) => list,
                Err(_) => text(root, &format!("/var/lib/dpkg/info/{name}.list"))?,
            };
            let mut files = Vec::new();
            for path in list.lines().filter(|l| l.starts_with('/') && *l != "/.") {
                let path = self.place(name, path);
                self.owners
                    .entry(path.clone())
                    .or_default()
                    .push(name.clone());
                files.push(path);
            }
            self.files.insert(name.clone(), files);
        }
        Ok(())
    }
}

fn text(root: &Root, path: &str) -> Result<String> {
    let bytes = root
        .read(path, MAX_FILE)
        .map_err(|source| Error::ReadRoot {
            path: path.to_owned(),
            source,
        })?
        .ok_or_else(|| Error::Database {
            path: path.to_owned(),
        })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One paragraph of `status`; nothing unless the package is unpacked.
fn parse_stanza(stanza: &str) -> Option<(String, Installed)> {
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = None;
    for line in stanza.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = current.and_then(|key| fields.get_mut(key)) {
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.insert(key, value.trim().to_owned());
            current = Some(key);
        }
    }
    if !fields.get("Status")?.ends_with(" installed") {
        return None;
    }
    let name = fields.get("Package")?.clone();
    let get = |key| fields.get(key).map_or("", String::as_str);
    let mut depends = dependencies(get("Pre-Depends"));
    depends.extend(dependencies(get("Depends")));
    // `NAME`, or `NAME (VERSION)` where the version is another one (deb-control(5))
    let mut source = get("Source").split_whitespace();
    let source_name = source.next().unwrap_or(&name).to_owned();
    let source_version = source.next().map(|v| v.trim_matches(['(', ')']).to_owned());
    let package = Installed {
        version: get("Version").to_owned(),
        source: source_name,
        source_version,
        maintainer: get("Maintainer").to_owned(),
        paragraph: stanza.to_owned(),
        architecture: get("Architecture").to_owned(),
        depends,
        refuses: [get("Conflicts"), get("Breaks")].join(", "),
        provided: get("Provides").to_owned(),
        essential: get("Essential") == "yes",
        priority: get("Priority").to_owned(),
        summary: first_line("Description", stanza),
        stanza: stanza.trim_end().to_owned(),
        elements: get("Gstreamer-Elements")
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
        provides: dependencies(get("Provides"))
            .into_iter()
            .flatten()
            .collect(),
    };
    Some((name, package))
}

/// The value of a field on the line of its name.
fn first_line(field: &str, stanza: &str) -> String {
    let value = |line: &str| {
        Some(
            line.strip_prefix(field)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    };
    stanza.lines().find_map(value).unwrap_or_default()
}

/// `a (>= 1) | b:any, c [amd64]` as its names (Debian Policy 7.1).
fn dependencies(field: &str) -> Vec<Vec<String>> {
    field
        .split(',')
        .map(|group| {
            group
                .split('|')
                .filter_map(|one| {
                    one.split([' ', '(', '[', ':'])
                        .find(|word| !word.is_empty())
                })
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|group| !group.is_empty())
        .collect()
}

/// Three lines each: the path, where it went, the package that diverted it (`:` for the administrator).
fn parse_diversions(text: &str) -> BTreeMap<String, Diversion> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(3)
        .map(|three| {
            let diversion = Diversion {
                to: merged_usr(three[1]).into_owned(),
                by: three[2].to_owned(),
            };
            (merged_usr(three[0]).into_owned(), diversion)
        })
        .collect()
}

fn read_alternatives(root: &Root) -> Result<Vec<Alternative>> {
    const DIRECTORY: &str = "/var/lib/dpkg/alternatives";
    let unreadable = |source| Error::ReadRoot {
        path: DIRECTORY.to_owned(),
        source,
    };
    let Some(directory) = root.follow(DIRECTORY).map_err(unreadable)? else {
        return Ok(Vec::new());
    };
    let mut alternatives = Vec::new();
    for node in root.children(&directory).map_err(unreadable)? {
        let name = node.path.rsplit('/').next().unwrap_or_default();
        alternatives.extend(parse_alternative(name, &text(root, &node.path)?));
    }
    Ok(alternatives)
}

/// The master link and its slaves: mode, link, then pairs of slave name and link up to an empty line; then, for each choice,
/// the master's file, a priority and a file, or an empty line, for each slave.
fn parse_alternative(name: &str, text: &str) -> Vec<Alternative> {
    let mut lines = text.lines().skip(1);
    let alternative = |name: &str, link: &str| Alternative {
        link: merged_usr(link).into_owned(),
        middle: format!("/etc/alternatives/{name}"),
        choices: Vec::new(),
    };
    let mut alternatives: Vec<Alternative> = lines
        .next()
        .map(|link| alternative(name, link))
        .into_iter()
        .collect();
    while let Some(slave) = lines.next().filter(|l| !l.is_empty()) {
        alternatives.extend(lines.next().map(|link| alternative(slave, link)));
    }
    while let Some(file) = lines.next().filter(|l| !l.is_empty()) {
        let _priority = lines.next();
        let files = std::iter::once(file).chain(lines.by_ref());
        for (alternative, file) in alternatives.iter_mut().zip(files) {
            if !file.is_empty() {
                alternative.choices.push(merged_usr(file).into_owned());
            }
        }
    }
    alternatives
}

#[cfg(test)]
mod tests {
    use super::{dependencies, parse_alternative, parse_diversions, parse_stanza};

    #[test]
    fn stanzas() {
        let stanza = "Package: libx\nStatus: install ok installed\nArchitecture: amd64\nSource: x (1.0)\nVersion: 1:1.0-1\n\
                      Pre-Depends: dpkg (>= 1.17)\nDepends: libc6 (>= 2.34), a:any | b [amd64],\n c\nProvides: v (= 1)\n";
        let (name, package) = parse_stanza(stanza).unwrap();
        assert_eq!((name.as_str(), package.source.as_str()), ("libx", "x"));
        assert_eq!(package.source_version.as_deref(), Some("1.0"));
        assert_eq!(package.paragraph, stanza);
        assert_eq!(
            package.depends,
            [vec!["dpkg"], vec!["libc6"], vec!["a", "b"], vec!["c"]]
        );
        assert_eq!(package.provides, ["v"]);
        assert!(parse_stanza("Package: gone\nStatus: deinstall ok config-files\n").is_none());
        assert!(parse_stanza("").is_none());
        assert!(dependencies("").is_empty());
    }

    #[test]
    fn diversions_use_merged_paths() {
        let diversions = parse_diversions("/bin/sh\n/bin/sh.distrib\ndash\nodd");
        assert_eq!(diversions["/usr/bin/sh"].to, "/usr/bin/sh.distrib");
        assert_eq!(diversions.len(), 1);
    }

    #[test]
    fn alternatives_with_slaves() {
        let text = "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\n\n/usr/bin/mawk\n5\n/usr/bin/mawk\n\n";
        let found = parse_alternative("awk", text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].middle, "/etc/alternatives/nawk");
        let text = "auto\n/usr/bin/awk\nnawk\n/usr/bin/nawk\nawk.1\n/man/awk.1\n\n/usr/bin/mawk\n5\n/bin/mawk\n\n\
                    /usr/bin/gawk\n10\n\n/man/gawk.1\n\n";
        let choices: Vec<Vec<String>> = parse_alternative("awk", text)
            .into_iter()
            .map(|a| a.choices)
            .collect();
        assert_eq!(choices[0], ["/usr/bin/mawk", "/usr/bin/gawk"]);
        assert_eq!(choices[1], ["/usr/bin/mawk"]);
        assert_eq!(choices[2], ["/man/gawk.1"]);
        assert!(parse_alternative("x", "").is_empty());
    }
}
