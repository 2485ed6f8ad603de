//! What scanners read: the package database of a component, one file a package.
//!
//! Images without dpkg keep the paragraph of each package in `/var/lib/dpkg/status.d/PACKAGE` and the digests of its files in
//! `PACKAGE.md5sums` beside it (distroless' `PACKAGE_METADATA.md`; trivy, syft and claircore read both). A file a package
//! needs no union when components are composed, as `/var/lib/dpkg/status` would.

use std::collections::BTreeMap;
use std::path::Path;

use fragment_types::manifest::Package;

use crate::dpkg::Database;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::tree::{Content, Entry, Source, Tree};

/// Where the paragraphs are.
pub(crate) const DIRECTORY: &str = "/var/lib/dpkg/status.d";
/// Largest list of digests read, in bytes.
const MAX_SUMS: u64 = 64 << 20;
/// Fields of the installation, not of the package: what they name differs in a component.
const LEFT_OUT: [&str; 4] = [
    "Conffiles",
    "Config-Version",
    "Triggers-Pending",
    "Triggers-Awaited",
];

/// Adds the entries of `packages` to `tree`, which holds what will be packed; files below `replaced` are not as packaged.
///
/// # Errors
/// [`Error::ReadRoot`].
pub(crate) fn add(
    packages: &[Package],
    database: &Database,
    root: &Root,
    replaced: Option<&Path>,
    tree: &mut Tree,
) -> Result<()> {
    let mut files = BTreeMap::new();
    for package in packages {
        let Some(installed) = database.package(&package.name) else {
            return Err(Error::NotInstalled {
                package: package.name.clone(),
            });
        };
        let name = &package.name;
        let paragraph = paragraph(&installed.paragraph, package.sliced);
        files.insert(format!("{DIRECTORY}/{name}"), paragraph);
        let is_packaged = |path: &str| match tree.entries.get(path).map(|e| &e.content) {
            Some(Content::File { source, .. }) => match source {
                Source::Disk(file) => replaced.is_none_or(|r| !file.starts_with(r)),
                Source::Bytes(_) => false,
            },
            _ => false,
        };
        let sums = sums(root, name, &installed.architecture)?;
        let sums = kept(&sums, |path| {
            let path = database.place(name, path);
            is_packaged(&path).then(|| path.trim_start_matches('/').to_owned())
        });
        files.insert(format!("{DIRECTORY}/{name}.md5sums"), sums);
    }
    for (path, text) in files {
        tree.entries
            .insert(path, Entry::of_bytes(text.into_bytes(), 0o644));
    }
    tree.add_parents(root)
}

/// The paragraph as it is kept. Of packages that are not there whole it says so, in a field of ours.
fn paragraph(text: &str, sliced: bool) -> String {
    let mut kept = String::new();
    let mut keep = true;
    for line in text.lines().filter(|l| !l.is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let field = line.split(':').next().unwrap_or_default();
            keep = !LEFT_OUT.iter().any(|f| f.eq_ignore_ascii_case(field));
        }
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if sliced {
        kept.push_str("Fragment-Slice: yes\n");
    }
    kept
}

/// The lines of `text` (deb-md5sums(5)) whose file is there, with the path it has there.
fn kept(text: &str, place: impl Fn(&str) -> Option<String>) -> String {
    let mut lines: Vec<(String, &str)> = text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .filter_map(|(sum, path)| Some((place(&format!("/{path}"))?, sum)))
        .collect();
    lines.sort_unstable();
    lines
        .iter()
        .map(|(path, sum)| format!("{sum}  {path}\n"))
        .collect()
}

fn sums(root: &Root, name: &str, architecture: &str) -> Result<String> {
    // packages with `Multi-Arch: same` have the architecture in the file name
    for file in [
        format!("/var/lib/dpkg/info/{name}:{architecture}.md5sums"),
        format!("/var/lib/dpkg/info/{name}.md5sums"),
    ] {
        let bytes = root
            .read(&file, MAX_SUMS)
            .map_err(|source| Error::ReadRoot { path: file, source })?;
        if let Some(bytes) = bytes {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::{kept, paragraph};

    #[test]
    fn paragraphs_keep_what_is_of_the_package() {
        let text = "Package: a\nStatus: install ok installed\nConffiles:\n /etc/a 0123\n /etc/b 4567\nDescription: x\n more\n .\n\n";
        assert_eq!(
            paragraph(text, false),
            "Package: a\nStatus: install ok installed\nDescription: x\n more\n .\n"
        );
        assert!(paragraph(text, true).ends_with(" .\nFragment-Slice: yes\n"));
    }

    #[test]
    fn digests_are_of_files_that_are_there() {
        let text = "aa  bin/b\nbb  usr/share/doc/x\nodd\ncc  usr/bin/a\n";
        let kept = kept(text, |path| match path {
            "/bin/b" => Some("usr/bin/b".to_owned()),
            "/usr/bin/a" => Some("usr/bin/a".to_owned()),
            _ => None,
        });
        assert_eq!(kept, "cc  usr/bin/a\naa  usr/bin/b\n");
    }
}
