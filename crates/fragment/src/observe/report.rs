//! What was seen, against the plan and the library.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use fragment_types::manifest::PathKind;
use fragment_types::path::merged_usr;
use fragment_types::{Catalogue as _, CatalogueError, ComponentName, ComponentSummary, Digest};
use serde::{Deserialize, Serialize};

use super::calls::Use;
use super::sight::{Found, Sight};
use super::{Request, Subject};
use crate::library::Library;

/// `schema` of the JSON report.
pub const SCHEMA: &str = "dev.fragment.observation/1";
/// Most paths listed of each kind; more are counted.
const MAX_LISTED: usize = 50;

/// What a run opened and missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The fragment that ran.
    pub fragment: Digest,
    /// Its entrypoint.
    pub entry: String,
    /// Components of the plan, topmost first, with what was used of them.
    pub components: Vec<Used>,
    /// Files that are no component's: the app's own, and what the container made.
    pub own: Listed,
    /// Components that hold what was missed.
    pub proposed: Vec<Proposed>,
    /// What was missed and no component of the library holds.
    pub missed: Listed,
    /// What stands in the way of a complete report.
    pub warnings: Vec<String>,
}

/// How many there are, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// All.
    pub count: usize,
    /// The first ones.
    pub paths: Vec<String>,
}

/// A component and what was used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The component.
    pub component: ComponentName,
    /// Its size, unpacked.
    pub bytes: u64,
    /// Files of it that were opened, executed or looked at.
    pub files: Listed,
}

/// A component that would have had what was missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// The component.
    pub component: ComponentName,
    /// Others that hold some of the same.
    pub alternatives: BTreeSet<ComponentName>,
    /// What was missed, and the strongest use the program wanted to make of it.
    pub paths: BTreeMap<String, Use>,
}

/// Makes the report; a library that cannot be read is a warning in it.
pub(super) fn make(seen: &HashSet<Sight>, subject: &Subject) -> Report {
    let plan = &subject.plan;
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        fragment: plan.id(),
        entry: plan.entry.path.clone(),
        components: Vec::new(),
        own: Listed::default(),
        proposed: Vec::new(),
        missed: Listed::default(),
        warnings: Vec::new(),
    };
    match Library::open(&subject.settings) {
        Ok(library) => {
            if let Err(error) = fill(&mut report, seen, subject, &library) {
                report.warnings.push(error.to_string());
            }
        }
        Err(error) => report.warnings.push(error.to_string()),
    }
    report
}

fn fill(
    report: &mut Report,
    seen: &HashSet<Sight>,
    subject: &Subject,
    library: &Library,
) -> Result<(), CatalogueError> {
    let layers = &subject.plan.layers;
    let mut used: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); layers.len()];
    let mut own = BTreeSet::new();
    let mut missed: BTreeMap<&str, Use> = BTreeMap::new();
    for sight in seen.iter().filter(|sight| is_of_the_root(&sight.path)) {
        match sight.end {
            Found::Nothing => {
                let means = missed.entry(&sight.path).or_insert(sight.means);
                *means = sight.means.max(*means);
            }
            Found::File => match holder(library, subject, &sight.path)? {
                Some(layer) => {
                    used[layer].insert(&sight.path);
                }
                None => {
                    own.insert(sight.path.as_str());
                }
            },
            Found::Directory | Found::Other => {}
        }
    }
    let of_layers = layers.iter().zip(used);
    report.components = of_layers
        .map(|(layer, paths)| Used {
            component: layer.name.clone(),
            bytes: layer.size.plain,
            files: listed(paths),
        })
        .collect();
    report.own = listed(own);
    propose(report, &missed, subject, library)
}

/// What the kernel makes is nobody's file.
fn is_of_the_root(path: &str) -> bool {
    let below = |directory| Path::new(path).starts_with(directory);
    !["/proc", "/sys", "/dev"].into_iter().any(below)
}

fn listed<'a>(paths: impl IntoIterator<Item = &'a str>) -> Listed {
    let mut listed = Listed::default();
    for path in paths {
        listed.count += 1;
        if listed.paths.len() < MAX_LISTED {
            listed.paths.push(path.to_owned());
        }
    }
    listed
}

/// Position of the topmost layer of the plan that holds `path`.
fn holder(
    library: &Library,
    subject: &Subject,
    path: &str,
) -> Result<Option<usize>, CatalogueError> {
    let mut topmost: Option<usize> = None;
    for provider in library.providing_path(&merged_usr(path))? {
        let component = library.component(provider.component)?;
        let layers = &subject.plan.layers;
        if let Some(at) = layers.iter().position(|l| l.digest == component.digest) {
            topmost = Some(topmost.map_or(at, |known| known.min(at)));
        }
    }
    Ok(topmost)
}

fn propose(
    report: &mut Report,
    missed: &BTreeMap<&str, Use>,
    subject: &Subject,
    library: &Library,
) -> Result<(), CatalogueError> {
    let layers = &subject.plan.layers;
    let is_in = |name: &ComponentName| layers.iter().any(|layer| layer.name == *name);
    let mut proposed: BTreeMap<ComponentName, Proposed> = BTreeMap::new();
    let mut nobodys = Vec::new();
    for (path, means) in missed {
        let mut holders: Vec<ComponentSummary> = Vec::new();
        for provider in library.providing_path(&merged_usr(path))? {
            if provider.kind != PathKind::Directory {
                holders.push(library.component(provider.component)?);
            }
        }
        if holders.is_empty() {
            nobodys.push(*path);
        }
        // a component of the plan holds it: the container removed it, or looked before it was there
        if holders.is_empty() || holders.iter().any(|holder| is_in(&holder.name)) {
            continue;
        }
        // what the plan's components cannot be composed with is no proposal
        holders.retain(|holder| !holder.conflicts.iter().any(is_in));
        holders.sort_by(|a, b| (b.preference, &a.name).cmp(&(a.preference, &b.name)));
        let mut names = holders.into_iter().map(|holder| holder.name);
        let Some(first) = names.next() else {
            let words =
                format!("{path} is held by components that conflict with those of the plan");
            report.warnings.push(words);
            continue;
        };
        let entry = proposed.entry(first.clone()).or_insert_with(|| Proposed {
            component: first,
            alternatives: BTreeSet::new(),
            paths: BTreeMap::new(),
        });
        entry.alternatives.extend(names);
        entry.paths.insert((*path).to_owned(), *means);
    }
    report.proposed = proposed.into_values().collect();
    report.missed = listed(nobodys);
    Ok(())
}

/// Writes the files that were asked for. The observer has nobody to tell of an error: the file is not there then.
pub(super) fn save(report: &Report, request: &Request) {
    let write = |path: &Path, text: &str| {
        if let Some(directory) = path.parent() {
            let _ = fs::create_dir_all(directory);
        }
        // complete or not at all
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        if fs::write(&partial, text).is_ok() {
            let _ = fs::rename(&partial, path);
        }
    };
    if let (Some(path), Some(text)) = (&request.proposal, report.proposal()) {
        write(path, &text);
    }
    if let (Some(path), Ok(text)) = (&request.report, serde_json::to_string_pretty(report)) {
        write(path, &(text + "\n"));
    }
}

impl Report {
    /// A `/.fragment.yaml` that asks for the proposed components; nothing where there is nothing to propose.
    #[must_use]
    pub fn proposal(&self) -> Option<String> {
        if self.proposed.is_empty() {
            return None;
        }
        let mut text = format!(
            "# Proposed for {} after a run of fragment {}: what it missed and the library holds.\n\
             # Read it, keep what the program needs, and put it into the image as /.fragment.yaml.\n\
             components:\n",
            self.entry,
            self.fragment.short()
        );
        for proposed in &self.proposed {
            let _ = writeln!(text, "  - {}", proposed.component);
            for (path, means) in proposed.paths.iter().take(5) {
                // a name of a file may be anything
                let _ = writeln!(text, "    # {} {}", verb(*means), path.escape_debug());
            }
        }
        Some(text)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "observed {}", self.entry.escape_debug());
        for used in &self.components {
            let _ = match used.files.count {
                0 => writeln!(
                    text,
                    "  unused     {} ({} bytes)",
                    used.component, used.bytes
                ),
                count => writeln!(text, "  used       {}: {count} files", used.component),
            };
        }
        for proposed in &self.proposed {
            let _ = writeln!(text, "  missing    {} has:", proposed.component);
            for (path, means) in proposed.paths.iter().take(10) {
                let _ = writeln!(
                    text,
                    "               {} ({})",
                    path.escape_debug(),
                    verb(*means)
                );
            }
            if proposed.paths.len() > 10 {
                let _ = writeln!(text, "               … {} more", proposed.paths.len() - 10);
            }
        }
        if self.missed.count > 0 {
            let _ = writeln!(
                text,
                "  not found  {} paths that no component of the library holds, as",
                self.missed.count
            );
            for path in self.missed.paths.iter().take(5) {
                let _ = writeln!(text, "               {}", path.escape_debug());
            }
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "  warning    {warning}");
        }
        text
    }
}

fn verb(means: Use) -> &'static str {
    match means {
        Use::Look => "looked for",
        Use::Open => "opened",
        Use::Execute => "executed",
    }
}
