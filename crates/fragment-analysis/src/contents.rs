//! What the application's own ELF files say besides their tables: notes about what they load later, names of shared objects
//! and paths among their constants, functions of Go programs.

use std::collections::BTreeSet;

use fragment_sys::root::End;
use fragment_types::manifest::{Machine, PathKind};
use fragment_types::path::merged_usr;
use fragment_types::{EvidenceKind, Need};

use crate::analyser::{Analyser, Context, OwnFile};
use crate::elf;
use crate::error::AnalysisError;
use crate::libraries::directory;
use crate::program::wrong_elf;
use crate::rules;

/// Kind of evidence that a constant is.
const KIND: EvidenceKind = EvidenceKind::Text;
/// Bytes of constants that are looked through for one file, and of Go's function names.
pub(crate) const MAX_CONSTANTS: u64 = 1 << 20;
/// Longest constant that can be a name or path.
const MAX_CONSTANT: usize = 256;
/// Most constants of one analysis that are looked up in the library.
const MAX_LOOKUPS: usize = 256;
/// Most files and directories that are looked at for links.
const MAX_LINKED: usize = 128;
/// Deepest directory below the entry's that is.
const MAX_DEPTH: usize = 3;

impl Analyser<'_> {
    /// Reads what is in a file. Its constants say something about the application where `imports` are known, the symbols that
    /// the file imports.
    pub(crate) fn contents(
        &mut self,
        file: &OwnFile,
        imports: Option<&BTreeSet<String>>,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let path = &file.found.path;
        let source = self.elf_source(&file.found)?;
        let contents =
            elf::contents(&*source, imports.is_some(), MAX_CONSTANTS).map_err(wrong_elf(path))?;
        for wish in &contents.loads {
            self.loaded_later(wish, contents.machine, path, context)?;
        }
        self.go_functions(&contents.go_functions, path, context);
        let sets_zone =
            imports.is_some_and(|imports| rules::all_of(rules::SETS_ZONE, imports).is_some());
        self.constants(&contents, sets_zone, path, context)
    }

    /// A note says which shared objects are loaded when they are there (the ELF dlopen metadata of systemd): the first of each
    /// list that the library has.
    fn loaded_later(
        &mut self,
        wish: &elf::Load,
        machine: Machine,
        path: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        if wish.priority == "suggested" {
            return Ok(());
        }
        for soname in &wish.sonames {
            let providers = self.library.providing_soname(soname)?;
            if providers
                .iter()
                .any(|provider| provider.machine == machine && provider.public)
            {
                let step = context.with(
                    EvidenceKind::Needed,
                    path,
                    format!("loads {soname} ({})", wish.priority),
                );
                let need = Need::soname(soname, machine, BTreeSet::new());
                self.ledger.add(need, step.strength, None, step.chain);
                break;
            }
        }
        Ok(())
    }

    fn constants(
        &mut self,
        contents: &elf::Contents,
        sets_zone: bool,
        path: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let (context, machine) = (context.soft(), contents.machine);
        for text in texts(&contents.constants) {
            self.text_implies(text, path, &context);
            if self.constants_asked >= MAX_LOOKUPS {
                continue;
            }
            if is_soname(text) {
                self.constants_asked += 1;
                let providers = self.library.providing_soname(text)?;
                if providers
                    .iter()
                    .any(|provider| provider.machine == machine && provider.public)
                {
                    let step = context.with(KIND, path, text);
                    let need = Need::soname(text, machine, BTreeSet::new());
                    self.ledger.add(need, step.strength, None, step.chain);
                }
            } else if is_path(text) {
                self.constants_asked += 1;
                if self.is_particular(text)? {
                    self.need_path(text, &context.with(KIND, path, text));
                }
            } else if sets_zone && let Some(zone) = zone(text) {
                self.constants_asked += 1;
                let file = format!("{}/{zone}", rules::ZONEINFO);
                if self.in_library(&file)?.is_some() {
                    self.need_path(&file, &context.with(KIND, path, text));
                }
            }
        }
        Ok(())
    }

    /// Whether the library has a file there, or a directory that belongs to one component alone. What every composition has
    /// anyway says nothing.
    pub(crate) fn is_particular(&self, path: &str) -> Result<bool, AnalysisError> {
        let providers = self
            .library
            .providing_path(&merged_usr(&crate::analyser::clean(path)))?;
        for provider in &providers {
            if self.is_core(provider.component)? {
                return Ok(false);
            }
        }
        let is_file = |kind| kind != PathKind::Directory;
        Ok(match providers.as_slice() {
            [] => false,
            [one] => is_file(one.kind) || path.matches('/').count() >= 3,
            many => many.iter().all(|provider| is_file(provider.kind)),
        })
    }

    /// What functions of the Go library that a program was linked with imply; the linker leaves out what cannot be reached.
    fn go_functions(&mut self, names: &[u8], path: &str, context: &Context) {
        if names.is_empty() {
            return;
        }
        let names: BTreeSet<&str> = texts(names).collect();
        for rule in rules::GO_FUNCTIONS {
            if let Some(name) = rule.names.iter().find(|name| names.contains(**name)) {
                let step = context.with(EvidenceKind::Symbol, path, *name);
                self.need_capabilities(rule.capabilities, &step);
                for path in rule.paths {
                    self.need_path(path, &step);
                }
            }
        }
    }

    /// Links of the application that lead out of the bundle, to what a component has.
    pub(crate) fn dangling_links(
        &mut self,
        entry: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let top = directory(entry).to_owned();
        let system = [
            "/", "/bin", "/sbin", "/usr", "/lib", "/lib64", "/etc", "/var",
        ];
        if system.contains(&top.as_str()) || top.starts_with("/usr/") || top.starts_with("/lib/") {
            return Ok(());
        }
        let (mut queue, mut left) = (vec![(top, 0)], MAX_LINKED);
        while let Some((place, depth)) = queue.pop() {
            let mut entries = self
                .root
                .read_dir(&place, left)
                .ok()
                .flatten()
                .unwrap_or_default();
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            for entry in entries {
                left = left.saturating_sub(1);
                let path = format!("{place}/{}", entry.name);
                if entry.is_directory {
                    if depth < MAX_DEPTH {
                        queue.push((path, depth + 1));
                    }
                    continue;
                }
                if !entry.may_be_link {
                    continue;
                }
                let Ok(trace) = self.root.trace(&path) else {
                    continue;
                };
                if let End::Missing(target) = trace.end
                    && !trace.links.is_empty()
                    && self.in_library(&target)?.is_some()
                {
                    let step = context.soft().through(&trace.links);
                    self.need_path(&target, &step);
                }
            }
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Printable texts that end with a NUL, as C has them.
fn texts(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let short = |piece: &&[u8]| (4..=MAX_CONSTANT).contains(&piece.len());
    let plain = |piece: &&[u8]| piece.iter().all(|byte| matches!(byte, b' '..=b'~'));
    bytes
        .split(|byte| *byte == 0)
        .filter(short)
        .filter(plain)
        .filter_map(|piece| std::str::from_utf8(piece).ok())
}

/// The name of a time zone, `Area/City`, alone or as a value of TZ (tzset(3)).
fn zone(text: &str) -> Option<&str> {
    let name = text.strip_prefix("TZ=").unwrap_or(text);
    let name = name.strip_prefix(':').unwrap_or(name);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    let is_zone = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.contains('/')
        && !name.ends_with('/')
        && name.chars().all(plain);
    is_zone.then_some(name)
}

/// `libssl.so.3`; what ends in `.so` alone is for those who build.
fn is_soname(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.');
    text.starts_with("lib")
        && text.chars().all(plain)
        && text
            .split_once(".so.")
            .is_some_and(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// An absolute path of more than one name, without placeholders.
fn is_path(text: &str) -> bool {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+' | '.' | '@' | ':');
    let filled = ["/proc/", "/dev/", "/sys/", "/run/", "/tmp/", "/home/"];
    text.starts_with('/')
        && text.len() > 5
        && text[1..].trim_end_matches('/').contains('/')
        && text.chars().all(plain)
        && !text.contains("//")
        && !filled.iter().any(|tree| text.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_with_a_nul_and_are_printable() {
        let bytes = b"\x7fELF\0\0https://example.org/x\0abc\0/dev/sda1\0\x01/dev/sdb1\0last";
        let found: Vec<&str> = texts(bytes).collect();
        assert_eq!(found, ["https://example.org/x", "/dev/sda1", "last"]);
        assert_eq!(texts(&[b'a'; 4096]).count(), 0, "too long to be one");
    }

    #[test]
    fn time_zones_are_areas_and_cities() {
        for (text, expected) in [
            ("Europe/Berlin", Some("Europe/Berlin")),
            (
                "TZ=:America/Argentina/Buenos_Aires",
                Some("America/Argentina/Buenos_Aires"),
            ),
            ("UTC", None),
            ("text/html", None),
            ("/Europe/Berlin", None),
            ("Either/or else", None),
        ] {
            assert_eq!(zone(text), expected, "{text}");
        }
    }

    #[test]
    fn names_and_paths_are_told_from_other_texts() {
        for (text, soname, path) in [
            ("libssl.so.3", true, false),
            ("libz.so", false, false),
            ("libfoo.so.%d", false, false),
            ("/usr/share/x", false, true),
            ("/usr/share/%s", false, false),
            ("/etc", false, false),
            ("/proc/self/exe", false, false),
            ("http://x/y", false, false),
        ] {
            assert_eq!((is_soname(text), is_path(text)), (soname, path), "{text}");
        }
    }
}
