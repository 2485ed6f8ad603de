//! Recipes: what a component is made of (`library/NAME.yaml`; the contract is `library/README.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use fragment_types::manifest::Account;
use fragment_types::{Capability, ComponentName};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::glob::Glob;

/// What a component is made of.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One line for people.
    pub description: String,
    /// Packages held whole, the leading one first.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages of which only some paths are held, in the order of the file.
    #[serde(default)]
    pub slices: Slices,
    /// Files no package owns that belong to the component.
    #[serde(default)]
    pub generated: Vec<Glob>,
    /// Paths left out, beyond those of `defaults.yaml`.
    #[serde(default)]
    pub exclude: Vec<Glob>,
    /// Files of our own.
    #[serde(default)]
    pub files: BTreeMap<String, FileSpec>,
    /// Users that its files belong to or its programs run as.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// Whether ELF files are stripped of what running does not need.
    #[serde(default)]
    pub strip: bool,
    /// Files whose set-id bits and file capabilities survive.
    #[serde(default)]
    pub special: BTreeSet<String>,
    /// Capabilities granted.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// Other names it answers to.
    #[serde(default)]
    pub aliases: BTreeSet<ComponentName>,
    /// Among providers of the same thing the highest is taken.
    #[serde(default)]
    pub preference: i32,
    /// Components it requires, beyond what package dependencies and ELF needs imply.
    #[serde(default)]
    pub requires: BTreeSet<ComponentName>,
    /// Packages of the Depends closure that the component works without.
    #[serde(default)]
    pub without: BTreeSet<String>,
    /// Components it cannot be composed with.
    #[serde(default)]
    pub conflicts: BTreeSet<ComponentName>,
    /// How long an unused component stays loaded, in seconds; `defaults.yaml` holds the value for recipes that name none.
    #[serde(default)]
    pub retention_seconds: Option<u64>,
    /// Most bytes of the stored blob.
    #[serde(default)]
    pub budget: Option<u64>,
    /// Last day of support, `YYYY-MM-DD`.
    #[serde(default)]
    pub eol: Option<String>,
    /// Package whose version is the component's; unless given the first of `packages`, else the first of `slices`.
    #[serde(default)]
    pub leading: Option<String>,
    /// Version of a component without packages.
    #[serde(default)]
    pub version: Option<String>,
    /// Directories of Python modules whose byte code is held.
    #[serde(default)]
    pub byte_code: Vec<String>,
    /// Sonames and interpreter paths that may stay without a provider (optional plugins and scripts).
    #[serde(default)]
    pub allow_missing: BTreeSet<String>,
    /// Commands that prove that the component works.
    #[serde(default)]
    pub check: Vec<Check>,
}

/// Packages and the paths taken of each, in the order of the recipe.
#[derive(Debug, Clone, Default)]
pub struct Slices(pub Vec<(String, Vec<Glob>)>);

/// A file of our own. Exactly one of `content`, `link` and `directory` is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSpec {
    /// Text of a regular file.
    #[serde(default)]
    pub content: Option<String>,
    /// Target of a symbolic link.
    #[serde(default)]
    pub link: Option<String>,
    /// Whether it is a directory.
    #[serde(default)]
    pub directory: bool,
    /// Owner, one of `users`; root unless given.
    #[serde(default)]
    pub owner: Option<String>,
    /// Permission bits in octal; 0644 for files and 0755 for directories unless given.
    #[serde(default)]
    pub mode: Option<Mode>,
}

/// A user with a group of the same name. The numbers are the recipe's: what an installation hands out depends on its order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Full name or purpose.
    #[serde(default)]
    pub comment: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    #[serde(default = "nologin")]
    pub shell: String,
}

fn nologin() -> String {
    "/usr/sbin/nologin".to_owned()
}

/// Permission bits, written in octal with or without a leading zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

/// One command run in a test container of core, the component and what it requires.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The command and its arguments.
    pub run: Vec<String>,
    /// Regular expression that its standard output matches.
    #[serde(default)]
    pub stdout: Option<String>,
    /// Regular expression that its standard error matches.
    #[serde(default)]
    pub stderr: Option<String>,
    /// Exit code.
    #[serde(default)]
    pub exit: i32,
    /// Text given on standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// Environment beyond `PATH`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What is true of all recipes (`library/defaults.yaml`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Components that every other component requires (but those which these require in turn).
    #[serde(default)]
    pub requires: BTreeSet<ComponentName>,
    /// Paths cut from every component. What a recipe's `files` make, its `generated` match or its `slices` name without
    /// a wildcard stays.
    #[serde(default)]
    pub exclude: Vec<Glob>,
    /// Packages that never belong to a component because another one's Depends name them.
    #[serde(default)]
    pub never: BTreeSet<String>,
    /// The same, of packages that installing needs and some programs run: packages that are added come with components of
    /// them, which nothing requires.
    #[serde(default)]
    pub machinery: BTreeSet<String>,
    /// How long an unused component stays loaded, in seconds.
    #[serde(default)]
    pub retention_seconds: u64,
    /// Last day of support of the distribution release, `YYYY-MM-DD`.
    #[serde(default)]
    pub eol: Option<String>,
}

impl Defaults {
    /// Whether Depends edges to a package are followed.
    #[must_use]
    pub fn follows(&self, package: &str) -> bool {
        !self.never.contains(package) && !self.machinery.contains(package)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Self(mode)),
            _ => Err(format!(
                "`{text}` is not a mode: octal digits up to 7777, such as 0644"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Slices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Slices;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from package names to lists of path patterns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Slices, A::Error> {
                let mut slices = Vec::new();
                while let Some(slice) = map.next_entry()? {
                    slices.push(slice);
                }
                Ok(Slices(slices))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Recipe {
    /// Reads a recipe; `file` stands in errors.
    ///
    /// # Errors
    /// [`Error::ParseRecipe`] with line and text, [`Error::InvalidRecipe`] for what the grammar cannot express.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let recipe: Self = parse_yaml(file, text)?;
        recipe.validate().map_err(|reason| Error::InvalidRecipe {
            file: file.to_owned(),
            reason,
        })?;
        Ok(recipe)
    }

    /// The package whose version is the component's.
    #[must_use]
    pub fn leading_package(&self) -> Option<&str> {
        let first_slice = || self.slices.0.first().map(|(name, _)| name);
        self.leading
            .as_ref()
            .or(self.packages.first())
            .or_else(first_slice)
            .map(String::as_str)
    }

    /// Every package that has to be installed.
    pub fn installed_packages(&self) -> impl Iterator<Item = &str> {
        self.packages
            .iter()
            .map(String::as_str)
            .chain(self.slices.0.iter().map(|(p, _)| p.as_str()))
    }

    /// Its users as the manifest lists them.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.users
            .iter()
            .map(|(name, user)| Account {
                name: name.clone(),
                uid: user.uid,
                gid: user.gid,
            })
            .collect()
    }

    fn validate(&self) -> Result<(), String> {
        if self.leading_package().is_none() {
            if self.files.is_empty() {
                return Err("it has neither `packages` nor `slices` nor `files`".to_owned());
            }
            if self.version.is_none() {
                return Err("a component without packages needs a `version`".to_owned());
            }
        }
        let mut seen = BTreeSet::new();
        for package in self.installed_packages() {
            if !is_package_name(package) {
                return Err(format!("`{package}` is not a Debian package name"));
            }
            if !seen.insert(package) {
                return Err(format!(
                    "package `{package}` is named twice in `packages` and `slices`"
                ));
            }
        }
        if let Some((package, _)) = self.slices.0.iter().find(|(_, globs)| globs.is_empty()) {
            return Err(format!("the slice of `{package}` names no path"));
        }
        if let Some(leading) = self.leading.as_deref().filter(|l| !seen.contains(l)) {
            return Err(format!(
                "`leading: {leading}` is neither in `packages` nor in `slices`"
            ));
        }
        for (path, file) in &self.files {
            check_path("files", path)?;
            file.validate()
                .map_err(|reason| format!("file `{path}` {reason}"))?;
            if let Some(owner) = file.owner.as_ref().filter(|o| !self.users.contains_key(*o)) {
                return Err(format!(
                    "file `{path}` belongs to `{owner}`, which is not in `users`"
                ));
            }
        }
        for (name, user) in &self.users {
            user.validate(name)
                .map_err(|reason| format!("user `{name}` {reason}"))?;
        }
        for path in &self.special {
            check_path("special", path)?;
        }
        for path in &self.byte_code {
            check_path("byte_code", path)?;
        }
        if let Some(eol) = self.eol.as_deref().filter(|d| !is_date(d)) {
            return Err(format!("`eol: {eol}` is not a date of the form YYYY-MM-DD"));
        }
        if let Some(check) = self.check.iter().position(|c| c.run.is_empty()) {
            return Err(format!("check number {} runs no command", check + 1));
        }
        Ok(())
    }
}

impl User {
    /// Debian Policy 9.2.2: 0 to 99 are given out by Debian, 100 to 999 by each system, the rest belong to people.
    fn validate(&self, name: &str) -> Result<(), &'static str> {
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if !name.bytes().all(plain)
            || !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        {
            return Err("is not a name of lower case letters, digits, `_` and `-`");
        }
        if !(100..1000).contains(&self.uid) || !(100..1000).contains(&self.gid) {
            return Err("has a `uid` or `gid` outside of 100 to 999, the numbers of service users");
        }
        let field = |text: &str| !text.contains([':', '\n']);
        if !field(&self.comment)
            || ![&self.home, &self.shell]
                .iter()
                .all(|p| p.starts_with('/') && field(p))
        {
            return Err("has a `comment`, `home` or `shell` that /etc/passwd cannot hold");
        }
        Ok(())
    }
}

impl FileSpec {
    fn validate(&self) -> Result<(), &'static str> {
        let kinds = [self.content.is_some(), self.link.is_some(), self.directory];
        if kinds.iter().filter(|k| **k).count() != 1 {
            return Err("needs exactly one of `content`, `link` and `directory: true`");
        }
        if self.link.is_some() && (self.mode.is_some() || self.owner.is_some()) {
            return Err("is a link, and links have no `mode` and no `owner`");
        }
        if self.link.as_deref() == Some("") {
            return Err("is a link without target");
        }
        Ok(())
    }
}

/// Reads one YAML document; errors carry the line and its text, which shows key and value.
pub(crate) fn parse_yaml<T: serde::de::DeserializeOwned>(file: &Path, text: &str) -> Result<T> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |l| l.line());
        let shown = usize::try_from(line)
            .ok()
            .and_then(|n| text.lines().nth(n.checked_sub(1)?));
        let message = error.without_snippet().to_string();
        Error::ParseRecipe {
            file: file.to_owned(),
            line,
            text: shown.unwrap_or("").trim().to_owned(),
            reason: message
                .split(" at line ")
                .next()
                .unwrap_or(&message)
                .to_owned(),
        }
    })
}

fn check_path(key: &str, path: &str) -> Result<(), String> {
    let plain = path.starts_with('/')
        && path.len() > 1
        && !path.ends_with('/')
        && !path[1..].split('/').any(|s| matches!(s, "" | "." | ".."));
    if plain {
        Ok(())
    } else {
        Err(format!(
            "`{key}` names `{path}`, which is not a plain absolute path"
        ))
    }
}

/// Debian Policy 5.6.7.
fn is_package_name(text: &str) -> bool {
    text.len() >= 2
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        })
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, width: usize, range: std::ops::RangeInclusive<u32>| {
        part.len() == width
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n| range.contains(&n))
    };
    matches!(parts[..], [y, m, d] if number(y, 4, 0..=9999) && number(m, 2, 1..=12) && number(d, 2, 1..=31))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Mode, Recipe};

    fn parse(text: &str) -> Result<Recipe, String> {
        Recipe::parse(Path::new("x.yaml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_of_the_contract_parses() {
        let recipe = parse(
            "description: Client\npackages: [curl]\nslices:\n  zz: [/usr/sbin/ip]\n  aa: [/lib/**]\n\
             files:\n  /run: { directory: true, mode: 0755 }\n  /usr/bin/sh: { link: busybox }\n\
             budget: 6000000\neol: 2028-06-30\nbyte_code: [/usr/lib/python3.11]\n\
             check:\n  - run: [curl, --version]\n    stdout: '^curl \\d'\n    exit: 0\n",
        )
        .unwrap();
        assert_eq!(
            recipe.installed_packages().collect::<Vec<_>>(),
            ["curl", "zz", "aa"]
        );
        assert_eq!(recipe.files["/run"].mode, Some(Mode(0o755)));
        assert_eq!(recipe.budget, Some(6_000_000));
    }

    #[test]
    fn errors_name_file_line_key_and_value() {
        for (text, expected) in [
            (
                "description: x\npackages: [curl]\nbudget: many\n",
                "x.yaml:3: `budget: many`: invalid u64",
            ),
            (
                "description: x\npackages: [curl]\nbudgt: 1\n",
                "x.yaml:3: `budgt: 1`: unknown field `budgt`",
            ),
            (
                "description: x\ngenerated:\n  - etc/x\n",
                "x.yaml:3: `- etc/x`: `etc/x` is not a path pattern",
            ),
            (
                "description: x\nfiles:\n  /a: { content: a, mode: 0999 }\n",
                "`0999` is not a mode",
            ),
            (
                "description: x\nversion: 1.0.0\nfiles:\n  /a: { content: a, link: b }\n",
                "x.yaml: file `/a` needs exactly one",
            ),
            (
                "description: x\nversion: 1.0.0\nfiles:\n  /a/../b: { content: a }\n",
                "`/a/../b`, which is not a plain",
            ),
            (
                "description: x\npackages: [aa]\nusers: { U: { uid: 100, gid: 100, home: /h } }\n",
                "user `U` is not a name",
            ),
            (
                "description: x\npackages: [aa]\nusers: { u: { uid: 33, gid: 100, home: /h } }\n",
                "outside of 100 to 999",
            ),
            (
                "description: x\npackages: [aa]\nusers: { u: { uid: 100, gid: 100, home: '/h:' } }\n",
                "/etc/passwd cannot hold",
            ),
            (
                "description: x\nversion: 1.0.0\nfiles:\n  /a: { content: a, owner: u }\n",
                "belongs to `u`, which is not in `users`",
            ),
            ("description: x\n", "x.yaml: it has neither `packages`"),
            (
                "description: x\npackages: [a b]\n",
                "`a b` is not a Debian package name",
            ),
            (
                "description: x\npackages: [curl]\neol: 2028-13-01\n",
                "`eol: 2028-13-01` is not a date",
            ),
            ("packages: [curl]\n", "missing field `description`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(expected),
                "{error}\n  does not contain\n{expected}"
            );
        }
    }
}
