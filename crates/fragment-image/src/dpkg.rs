//! The package database of an image: which package a path belongs to, whether it is as packaged, and who needs whom.
//!
//! Sources: deb-control(5), dpkg(1) "FILES", deb-md5sums(5), dpkg-divert(1), apt-mark(8).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fragment_sys::root::Root;
use fragment_types::path::merged_usr;

/// Largest database file read, in bytes.
const MAX_FILE: usize = 64 << 20;
/// Most packages: five times Debian 12's archive would be 300,000; an image holds hundreds.
const MAX_PACKAGES: usize = 100_000;

/// An installed package.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) version: String,
    architecture: String,
    /// Part of every Debian system, wanted by nobody in particular: essential, protected, of priority required or important,
    /// or what those depend on.
    pub(crate) is_base: bool,
    /// Came as a dependency of another.
    is_automatic: bool,
    /// Pre-Depends and Depends: each is satisfied by one of its names.
    depends: Vec<Vec<String>>,
    recommends: Vec<Vec<String>>,
    provides: Vec<String>,
}

impl Package {
    /// Whether somebody asked for it by name.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_base && !self.is_automatic
    }
}

/// The database; empty for an image that has none.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) packages: BTreeMap<String, Package>,
    providers: HashMap<String, BTreeSet<String>>,
    /// Merged-/usr path to packages.
    owners: HashMap<String, Vec<String>>,
    /// Merged-/usr path to the MD5 digest that its package was made with.
    packaged: HashMap<String, String>,
}

impl Database {
    /// Reads the database of `root`. What cannot be read or understood is as if it were not there: files without an owner, or
    /// without a digest, stay in the image.
    pub(crate) fn read(root: &Root) -> Self {
        let mut database = Self::default();
        let status = text(root, "/var/lib/dpkg/status");
        for stanza in status.split("\n\n").take(MAX_PACKAGES) {
            database.add(stanza);
        }
        for (section, fields) in text(root, "/var/lib/apt/extended_states")
            .split("\n\n")
            .filter_map(|stanza| Some((field(stanza, "Package")?, stanza)))
        {
            if let Some(package) = database.packages.get_mut(section) {
                package.is_automatic = field(fields, "Auto-Installed") == Some("1");
            }
        }
        database.spread_base();
        database.read_lists(root);
        database
    }

    /// What the base depends on is base, too: tools that bootstrap a system mark nothing as automatic.
    fn spread_base(&mut self) {
        let base = self.packages.iter().filter(|(_, package)| package.is_base);
        let mut todo: Vec<String> = base.map(|(name, _)| name.clone()).collect();
        while let Some(name) = todo.pop() {
            let depends = self.packages.get(&name).map(|package| &package.depends);
            let found = depends.into_iter().flatten();
            let found: Vec<String> = found
                .filter_map(|alternatives| self.satisfier(alternatives))
                .map(str::to_owned)
                .collect();
            for name in found {
                if let Some(package) = self.packages.get_mut(&name)
                    && !package.is_base
                {
                    package.is_base = true;
                    todo.push(name);
                }
            }
        }
    }

    fn add(&mut self, stanza: &str) {
        let Some(name) = field(stanza, "Package") else {
            return;
        };
        if field(stanza, "Status").is_none_or(|status| !status.ends_with(" installed")) {
            return;
        }
        let yes = |name| field(stanza, name) == Some("yes");
        let mut package = Package {
            version: field(stanza, "Version").unwrap_or_default().to_owned(),
            architecture: field(stanza, "Architecture").unwrap_or_default().to_owned(),
            is_base: yes("Essential")
                || yes("Protected")
                || matches!(field(stanza, "Priority"), Some("required" | "important")),
            ..Package::default()
        };
        for relation in ["Pre-Depends", "Depends"] {
            let text = folded(stanza, relation);
            package.depends.extend(relations(&text));
        }
        package.recommends = relations(&folded(stanza, "Recommends"));
        package.provides = relations(&folded(stanza, "Provides")).concat();
        for provided in &package.provides {
            let providers = self.providers.entry(provided.clone()).or_default();
            providers.insert(name.to_owned());
        }
        // "Conffiles:" lines are ` PATH MD5 [obsolete]`; their digests are those of the packaged version
        for line in folded(stanza, "Conffiles").lines() {
            let mut words = line.split_whitespace();
            if let (Some(path), Some(digest)) = (words.next(), words.next()) {
                self.packaged
                    .insert(merged_usr(path).into_owned(), digest.to_owned());
            }
        }
        self.packages.insert(name.to_owned(), package);
    }

    fn read_lists(&mut self, root: &Root) {
        let diversions = diversions(&text(root, "/var/lib/dpkg/diversions"));
        for (name, package) in &self.packages {
            // packages with `Multi-Arch: same` have the architecture in the file name
            let qualified = format!("/var/lib/dpkg/info/{name}:{}", package.architecture);
            let plain = format!("/var/lib/dpkg/info/{name}");
            let read = |suffix: &str| {
                let text = text(root, &format!("{qualified}.{suffix}"));
                if text.is_empty() {
                    self::text(root, &format!("{plain}.{suffix}"))
                } else {
                    text
                }
            };
            let place = |path: &str| {
                let path = merged_usr(path);
                match diversions.get(path.as_ref()) {
                    Some((to, by)) if by != name => to.clone(),
                    _ => path.into_owned(),
                }
            };
            for path in read("list").lines().filter(|line| line.starts_with('/')) {
                let path = if path == "/." {
                    "/".to_owned()
                } else {
                    place(path)
                };
                self.owners.entry(path).or_default().push(name.clone());
            }
            for line in read("md5sums").lines() {
                if let Some((digest, path)) = line.split_once("  ") {
                    self.packaged
                        .insert(place(&format!("/{path}")), digest.to_owned());
                }
            }
        }
    }

    /// The packages that list `path`.
    pub(crate) fn owners(&self, path: &str) -> &[String] {
        self.owners.get(path).map_or(&[], Vec::as_slice)
    }

    /// The MD5 digest that the file at `path` was packaged with.
    pub(crate) fn packaged(&self, path: &str) -> Option<&str> {
        self.packaged.get(path).map(String::as_str)
    }

    /// The installed packages that `package` recommends and, if `depends`, those it depends on, directly.
    pub(crate) fn wants(&self, package: &str, depends: bool) -> BTreeSet<&str> {
        let Some(package) = self.packages.get(package) else {
            return BTreeSet::new();
        };
        let depends = package.depends.iter().filter(|_| depends);
        depends
            .chain(&package.recommends)
            .filter_map(|alternatives| self.satisfier(alternatives))
            .collect()
    }

    fn satisfier<'a>(&'a self, alternatives: &'a [String]) -> Option<&'a str> {
        let installed = |name: &&String| self.packages.contains_key(*name);
        let direct = alternatives.iter().find(installed).map(String::as_str);
        direct.or_else(|| {
            alternatives
                .iter()
                .find_map(|name| self.providers.get(name)?.first())
                .map(String::as_str)
        })
    }
}

fn text(root: &Root, path: &str) -> String {
    // Debian's own files are UTF-8; a path that is not is owned by nobody and stays
    root.read_prefix(path, MAX_FILE)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A field of one line.
fn field<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    stanza.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim())
    })
}

/// A field with its continuation lines.
fn folded(stanza: &str, name: &str) -> String {
    let mut lines = stanza
        .lines()
        .skip_while(|line| line.split_once(':').is_none_or(|(found, _)| found != name));
    let first = lines.next().and_then(|line| line.split_once(':'));
    let first = first.map_or("", |(_, value)| value);
    let rest = lines.take_while(|line| line.starts_with([' ', '\t']));
    std::iter::once(first)
        .chain(rest)
        .collect::<Vec<_>>()
        .join("\n")
}

/// `a (>= 1) | b, c:any` as names.
fn relations(text: &str) -> Vec<Vec<String>> {
    text.split(',')
        .map(|alternatives| {
            alternatives
                .split('|')
                .filter_map(|one| one.split_whitespace().next())
                .map(|name| name.split([':', '(']).next().unwrap_or(name).to_owned())
                .collect()
        })
        .filter(|names: &Vec<String>| !names.is_empty())
        .collect()
}

/// Merged-/usr path to where it went and who sent it there. The file has three lines for each.
fn diversions(text: &str) -> HashMap<String, (String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(3)
        .map(|lines| {
            let to = merged_usr(lines[1]).into_owned();
            (merged_usr(lines[0]).into_owned(), (to, lines[2].to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: app
Status: install ok installed
Priority: optional
Version: 1.0-1
Architecture: amd64
Depends: libc6 (>= 2.34), perl:any | perl-base,
 virtual
Conffiles:
 /etc/app.conf 0123456789abcdef0123456789abcdef
Description: x

Package: perl-base
Essential: yes
Status: install ok installed
Provides: virtual (= 2)
Version: 5

Package: gone
Status: deinstall ok config-files
Version: 1
";

    fn database() -> Database {
        let mut database = Database::default();
        for stanza in STATUS.split("\n\n") {
            database.add(stanza);
        }
        database
    }

    #[test]
    fn stanzas_are_read() {
        let database = database();
        let names: Vec<&str> = database.packages.keys().map(String::as_str).collect();
        assert_eq!(names, ["app", "perl-base"]);
        assert!(database.packages["app"].is_wanted());
        assert!(database.packages["perl-base"].is_base);
        assert_eq!(
            database.wants("app", true).into_iter().collect::<Vec<_>>(),
            ["perl-base"]
        );
        assert_eq!(
            database.packaged("/etc/app.conf"),
            Some("0123456789abcdef0123456789abcdef")
        );
    }

    #[test]
    fn what_the_base_depends_on_is_base() {
        let mut database = database();
        let named = |name: &str, more: &str| {
            format!("Package: {name}\nStatus: install ok installed\nVersion: 1\n{more}")
        };
        database.add(&named("apt", "Priority: important\nDepends: lib"));
        database.add(&named("lib", "Depends: deeper"));
        database.add(&named("deeper", ""));
        database.spread_base();
        assert!(database.packages["deeper"].is_base);
        assert!(database.packages["app"].is_wanted());
    }

    #[test]
    fn diversions_have_three_lines() {
        let found = diversions("/bin/sh\n/bin/sh.distrib\ndash\n/x\n");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found["/usr/bin/sh"],
            ("/usr/bin/sh.distrib".to_owned(), "dash".to_owned())
        );
    }
}
