//! What the files of a component provide and need.

use std::collections::{BTreeMap, BTreeSet};

use fragment_types::manifest::{NeededSoname, PathEntry, PathKind, Soname};
use fragment_types::path::merged_usr;

use crate::elf::{self, Elf};
use crate::error::{Error, Result};
use crate::root::normalise;
use crate::tree::{Content, Tree};

/// Directories in which commands are looked up, in the order of a usual `PATH`.
pub(crate) const COMMAND_DIRECTORIES: [&str; 4] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
/// Directories that the dynamic loader of this distribution searches without configuration (ld.so(8) and Debian's multiarch).
pub(crate) const SEARCHED_DIRECTORIES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/i386-linux-gnu",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/local/lib/aarch64-linux-gnu",
];
/// Largest ELF file read, in bytes.
const MAX_ELF: u64 = 1 << 30;
/// Longest interpreter line read, in bytes (the kernel's BINPRM_BUF_SIZE is 256).
const MAX_SHEBANG: u64 = 256;

/// What a component's files provide and need.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) sonames: Vec<Soname>,
    pub(crate) needs: Vec<FileNeed>,
    /// File -> the program that runs it: of scripts the interpreter, of programs the dynamic loader.
    pub(crate) runners: BTreeMap<String, Runner>,
    /// Paths below `/usr/share` that objects which need libraries name.
    pub(crate) data_paths: BTreeSet<String>,
}

/// One DT_NEEDED entry of one file.
#[derive(Debug, Clone)]
pub(crate) struct FileNeed {
    pub(crate) file: String,
    pub(crate) need: NeededSoname,
    /// Directories of RPATH and RUNPATH.
    pub(crate) directories: Vec<String>,
}

impl FileNeed {
    /// The paths at which the dynamic loader looks for it, in its order, without those of ld.so.conf(5).
    pub(crate) fn candidates(&self) -> impl Iterator<Item = String> + '_ {
        let own = self.directories.iter().map(String::as_str);
        own.chain(SEARCHED_DIRECTORIES)
            .map(|directory| format!("{directory}/{}", self.need.soname))
    }
}

/// What runs a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runner {
    /// An absolute path in the merged-/usr spelling.
    Path(String),
    /// A command that env(1) looks up.
    Command(String),
}

/// Indexes `tree`; `configured` are the directories that ld.so.conf(5) files of the root name.
///
/// # Errors
/// Files that cannot be read.
pub(crate) fn index(tree: &Tree, configured: &[String]) -> Result<Index> {
    let mut index = Index::default();
    let mut seen = BTreeSet::new();
    for (path, entry) in &tree.entries {
        let Content::File { source, inode, .. } = &entry.content else {
            continue;
        };
        // a second name of a file says nothing new about needs, and its soname is found by the first
        if inode.is_some_and(|inode| !seen.insert(inode)) {
            continue;
        }
        let unreadable = |source| Error::ReadRoot {
            path: path.clone(),
            source,
        };
        let head = source.head(MAX_SHEBANG).map_err(unreadable)?;
        if head.starts_with(b"\x7fELF") {
            if let Some(elf) = elf::parse(&source.head(MAX_ELF).map_err(unreadable)?) {
                index.add_elf(path, elf, tree, configured);
            }
        } else if entry.mode & 0o111 != 0
            && let Some(runner) = shebang(&head)
        {
            index.runners.insert(path.clone(), runner);
        }
    }
    Ok(index)
}

impl Index {
    fn add_elf(&mut self, path: &str, elf: Elf, tree: &Tree, configured: &[String]) {
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        let mut directories: Vec<String> = elf
            .runpath
            .iter()
            .map(|r| expand_origin(r, directory))
            .collect();
        if elf.interpreter.is_none() {
            // a private library without RUNPATH is loaded by a program that has one and loads the libraries beside it
            // too; the loader takes what is loaded already under that soname (systemd's libsystemd-core is an example)
            directories.push(directory.to_owned());
        }
        if !elf.needs.is_empty() {
            self.data_paths.extend(elf.data_paths);
        }
        for need in &elf.needs {
            self.needs.push(FileNeed {
                file: path.to_owned(),
                need: need.clone(),
                directories: directories.clone(),
            });
        }
        if let Some(interpreter) = &elf.interpreter {
            let runner = Runner::Path(merged_usr(interpreter).into_owned());
            self.runners.insert(path.to_owned(), runner);
        }
        let is_library =
            elf.soname.is_some() || (elf.interpreter.is_none() && file.contains(".so"));
        if is_library {
            let soname = elf.soname.unwrap_or_else(|| file.to_owned());
            // the loader opens DIRECTORY/SONAME: the file itself or a link of that name, beside it or, by way of the
            // alternatives system, in another directory
            let searched = |directory: &str| {
                SEARCHED_DIRECTORIES.contains(&directory)
                    || configured.iter().any(|c| c == directory)
            };
            let named = tree.entries.contains_key(&format!("{directory}/{soname}"));
            let public = named && searched(directory);
            let elsewhere = SEARCHED_DIRECTORIES
                .iter()
                .map(|directory| format!("{directory}/{soname}"))
                .find(|link| !public && leads(tree, link, path));
            self.sonames.push(Soname {
                soname,
                public: public || elsewhere.is_some(),
                path: elsewhere.unwrap_or_else(|| path.to_owned()),
                machine: elf.machine,
                versions: elf.versions,
                needs: elf.needs,
                imports: elf.imports,
            });
        }
    }
}

/// Whether a link of the tree leads to a file of it.
fn leads(tree: &Tree, link: &str, file: &str) -> bool {
    let mut path = link.to_owned();
    for _ in 0..40 {
        match tree.entries.get(&path).map(|entry| &entry.content) {
            Some(Content::Symlink(target)) => {
                path = merged_usr(&normalise(&crate::root::join(&path, target))).into_owned();
            }
            Some(_) => return path == file,
            None => return false,
        }
    }
    false
}

/// Directories named in ld.so.conf(5) text, in the merged-/usr spelling.
pub(crate) fn configured_directories(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|line| line.starts_with('/'))
        .map(|line| {
            merged_usr(&format!("{}/x", line.trim_end_matches('/')))
                .trim_end_matches("/x")
                .to_owned()
        })
        .collect()
}

/// `$ORIGIN/../lib` as an absolute path (ld.so(8), "Dynamic string tokens").
fn expand_origin(entry: &str, directory: &str) -> String {
    let expanded = entry
        .replace("${ORIGIN}", directory)
        .replace("$ORIGIN", directory);
    let below = merged_usr(&format!("{}/x", normalise(&expanded))).into_owned();
    below.trim_end_matches("/x").to_owned()
}

/// What the interpreter line of a script runs.
fn shebang(head: &[u8]) -> Option<Runner> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let program = words.next().filter(|p| p.starts_with('/'))?;
    if program.ends_with("/env") {
        // env(1): options, then NAME=VALUE, then the command
        let command = words.find(|w| !w.starts_with('-') && !w.contains('='));
        return command.map(|c| match c.starts_with('/') {
            true => Runner::Path(merged_usr(c).into_owned()),
            false => Runner::Command(c.to_owned()),
        });
    }
    Some(Runner::Path(merged_usr(program).into_owned()))
}

/// The executables in command directories among `paths`; `all` answers what any path of the composition is.
pub(crate) fn commands<'a>(
    paths: &[PathEntry],
    all: &dyn Fn(&str) -> Option<&'a PathEntry>,
) -> Vec<fragment_types::manifest::Command> {
    let mut commands = Vec::new();
    for entry in paths {
        let Some((directory, name)) = entry.path.rsplit_once('/') else {
            continue;
        };
        if !COMMAND_DIRECTORIES.contains(&directory) {
            continue;
        }
        let executable = |e: &PathEntry| e.kind == PathKind::File && e.mode & 0o111 != 0;
        if executable(entry) || resolve(entry, all).is_some_and(executable) {
            commands.push(fragment_types::manifest::Command {
                name: name.to_owned(),
                path: entry.path.clone(),
            });
        }
    }
    commands.sort();
    commands
}

/// What a chain of links ends at.
fn resolve<'a>(
    entry: &PathEntry,
    all: &dyn Fn(&str) -> Option<&'a PathEntry>,
) -> Option<&'a PathEntry> {
    let (mut path, mut target) = (entry.path.clone(), entry.target.clone()?);
    for _ in 0..40 {
        path = merged_usr(&normalise(&crate::root::join(&path, &target))).into_owned();
        let found = all(&path)?;
        match &found.target {
            Some(next) => target.clone_from(next),
            None => return Some(found),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Runner, configured_directories, expand_origin, index, leads, shebang};
    use crate::tree::{Content, Entry, Tree};

    #[test]
    fn a_library_behind_an_alternative_is_public() {
        let libraries = "/usr/lib/x86_64-linux-gnu";
        let file = format!("{libraries}/own/libz.so.1.0");
        let bytes = std::fs::read("/usr/lib/x86_64-linux-gnu/libz.so.1").unwrap();
        let mut tree = Tree::default();
        tree.entries
            .insert(file.clone(), Entry::of_bytes(bytes, 0o644));
        let index_of = |tree: &Tree| index(tree, &[]).unwrap().sonames.remove(0);
        assert!(!index_of(&tree).public, "no name the loader looks for");
        for (link, target) in [
            (
                format!("{libraries}/libz.so.1"),
                "/etc/alternatives/libz".to_owned(),
            ),
            (
                "/etc/alternatives/libz".to_owned(),
                format!("{libraries}/own/libz.so.1"),
            ),
            (
                format!("{libraries}/own/libz.so.1"),
                "libz.so.1.0".to_owned(),
            ),
        ] {
            let mut entry = Entry::of_bytes(Vec::new(), 0o777);
            entry.content = Content::Symlink(target);
            tree.entries.insert(link, entry);
        }
        let found = index_of(&tree);
        assert!(found.public);
        assert_eq!(found.path, format!("{libraries}/libz.so.1"));
        tree.entries.remove("/etc/alternatives/libz");
        assert!(!leads(&tree, &found.path, &file), "a link to nothing");
    }

    #[test]
    fn interpreter_lines() {
        for (line, expected) in [
            (
                "#!/bin/sh -e\nx",
                Some(Runner::Path("/usr/bin/sh".to_owned())),
            ),
            (
                "#! /usr/bin/env -S python3 -u\n",
                Some(Runner::Command("python3".to_owned())),
            ),
            (
                "#!/usr/bin/env A=b /bin/x\n",
                Some(Runner::Path("/usr/bin/x".to_owned())),
            ),
            ("#!sh\n", None),
            ("#!\n", None),
            ("plain", None),
        ] {
            assert_eq!(shebang(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn run_paths_and_configuration() {
        assert_eq!(expand_origin("$ORIGIN/../lib", "/usr/x/bin"), "/usr/x/lib");
        assert_eq!(
            expand_origin("/lib/x86_64-linux-gnu/systemd", "/usr/bin"),
            "/usr/lib/x86_64-linux-gnu/systemd"
        );
        assert_eq!(
            configured_directories("# x\n/lib/x86_64-linux-gnu\ninclude y\n /opt/l/ # z\n"),
            ["/usr/lib/x86_64-linux-gnu", "/opt/l"]
        );
    }
}
