//! The state of one analysis, and the small steps that all parts of it take.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use fragment_sys::root::{End, Found, Link, Root};
use fragment_types::catalogue::CORE_CAPABILITY;
use fragment_types::path::merged_usr;
use fragment_types::{
    Capability, Catalogue, CatalogueError, ComponentIndex, Evidence, EvidenceKind, Need, Strength,
};

use crate::build_tools::Named;
use crate::elf::{Elf, FileSource};
use crate::error::AnalysisError;
use crate::ledger::Ledger;
use crate::task::Task;
use crate::words::interpreter::Language;

/// Deepest nest of programs that run programs, scripts that name scripts, links in components.
pub(crate) const MAX_DEPTH: usize = 12;
/// Most files that are looked into because of a word somewhere.
pub(crate) const MAX_SOFT_FILES: usize = 256;
/// Most bytes of texts that are read because of a word somewhere.
pub(crate) const MAX_SOFT_BYTES: usize = 1 << 20;
/// Most different command names and paths that are looked up because of a word somewhere.
pub(crate) const MAX_NAMES: usize = 1024;
/// Most bytes of names in the ELF files of one analysis.
pub(crate) const MAX_ELF_BYTES: usize = 8 << 20;
/// Most look-ups in the rootfs that words and imports lead to.
const MAX_PROBES: usize = 16 << 10;

/// On whose behalf something is looked at.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Whether the entrypoint cannot start without it.
    pub(crate) strength: Strength,
    /// How it was arrived at.
    pub(crate) chain: Vec<Evidence>,
    /// How many programs and scripts led here.
    pub(crate) depth: usize,
}

impl Context {
    /// The context one step further.
    pub(crate) fn with(&self, kind: EvidenceKind, source: &str, detail: impl Into<String>) -> Self {
        let mut next = self.clone();
        let step = Evidence {
            kind,
            source: source.to_owned(),
            detail: detail.into(),
        };
        let told = next
            .chain
            .last()
            .is_some_and(|last| (&last.source, &last.detail) == (&step.source, &step.detail));
        if !told {
            next.chain.push(step);
        }
        next
    }

    /// The context with a step for each link that was followed.
    pub(crate) fn through(&self, links: &[Link]) -> Self {
        links.iter().fold(self.clone(), |context, link| {
            context.with(
                EvidenceKind::Entry,
                &link.path,
                format!("-> {}", link.target),
            )
        })
    }

    /// The context of something that is only likely to be used.
    pub(crate) fn soft(&self) -> Self {
        Self {
            strength: Strength::Soft,
            ..self.clone()
        }
    }

    pub(crate) fn deeper(&self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self.clone()
        }
    }
}

/// A file of the bundle that belongs to the application as far as one can tell.
#[derive(Debug, Clone)]
pub(crate) struct OwnFile {
    pub(crate) found: Found,
    pub(crate) chain: Vec<Evidence>,
    /// Whether what it imports says something about the application: not of interpreters and public libraries.
    pub(crate) speaks: bool,
    /// Whether it is a script, whose needs are found as its lines are read.
    pub(crate) is_script: bool,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) enum Place {
    /// To a file of the bundle.
    Here { found: Found, links: Vec<Link> },
    /// To nothing in the bundle; `path` is what does not exist, links before it followed.
    Absent { path: String, links: Vec<Link> },
}

/// The state of one analysis.
pub(crate) struct Analyser<'a> {
    pub(crate) root: &'a Root,
    pub(crate) task: &'a Task,
    pub(crate) library: &'a dyn Catalogue,
    pub(crate) ledger: Ledger,
    pub(crate) warnings: BTreeSet<String>,
    /// By path, so that each is looked at once.
    pub(crate) own: BTreeMap<String, OwnFile>,
    /// Links of the bundle by which the entry is found, and what led there.
    pub(crate) entry_links: Vec<(Link, Vec<Evidence>)>,
    pub(crate) elves: HashMap<String, Rc<Elf>>,
    /// Open files, by path.
    pub(crate) sources: HashMap<String, Rc<FileSource>>,
    /// Bytes of names in all of them.
    pub(crate) elf_bytes: usize,
    /// Programs and texts already looked into, with the strength on whose behalf.
    pub(crate) seen: BTreeMap<String, Strength>,
    pub(crate) soft_files: usize,
    pub(crate) soft_bytes: usize,
    pub(crate) hashed: u64,
    /// Constants of ELF files that were looked up in the library.
    pub(crate) constants_asked: usize,
    /// The variable that names the locale `C.UTF-8`.
    pub(crate) built_locale: Option<Context>,
    /// Whether a program of the bundle imports what sets locales.
    pub(crate) sets_locale: bool,
    probes: Cell<usize>,
    /// Programs that words name and that are still to be looked into, with what led there and where a `cd` led before.
    pub(crate) pending: VecDeque<(Found, Context, Option<String>)>,
    /// Directories that words name.
    pub(crate) named: Named,
    /// Names of shared objects in directories of modules.
    pub(crate) natives: BTreeMap<String, Rc<Vec<String>>>,
    /// Command names and paths that words name, with the strength on whose behalf.
    pub(crate) names: BTreeSet<(Strength, String)>,
    /// Directories that scripts of a language add to the search for modules.
    pub(crate) directories: BTreeMap<Language, Vec<String>>,
    /// Directories of the bundle where a language looks for modules; read when first asked for.
    pub(crate) places: BTreeMap<Language, Rc<Vec<String>>>,
}

impl<'a> Analyser<'a> {
    pub(crate) fn new(root: &'a Root, task: &'a Task, library: &'a dyn Catalogue) -> Self {
        Self {
            root,
            task,
            library,
            ledger: Ledger::default(),
            warnings: BTreeSet::new(),
            own: BTreeMap::new(),
            entry_links: Vec::new(),
            elves: HashMap::new(),
            sources: HashMap::new(),
            elf_bytes: 0,
            seen: BTreeMap::new(),
            soft_files: 0,
            soft_bytes: 0,
            hashed: 0,
            constants_asked: 0,
            built_locale: None,
            sets_locale: false,
            probes: Cell::new(MAX_PROBES),
            pending: VecDeque::new(),
            named: Named::default(),
            natives: BTreeMap::new(),
            names: BTreeSet::new(),
            directories: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// `argv[0]`, for messages.
    pub(crate) fn command(&self) -> String {
        self.task.argv.first().cloned().unwrap_or_default()
    }

    /// Where a path, seen from the working directory, leads.
    pub(crate) fn locate(&self, path: &str) -> Result<Place, AnalysisError> {
        let trace = self.root.trace(&self.task.absolute(path))?;
        let links = trace.links;
        Ok(match trace.end {
            End::Found(found) => Place::Here { found, links },
            End::Missing(path) => Place::Absent { path, links },
        })
    }

    /// Notes that a path is needed.
    pub(crate) fn need_path(&mut self, path: &str, context: &Context) {
        let path = self.task.absolute(path);
        let satisfied = self
            .root
            .lookup(&path)
            .ok()
            .flatten()
            .map(|found| found.path);
        let need = Need::Path { path };
        self.ledger
            .add(need, context.strength, satisfied, context.chain.clone());
    }

    /// Notes that the first of `paths` that a component has is needed.
    pub(crate) fn need_first(
        &mut self,
        paths: &[String],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        for path in paths {
            if self.in_library(path)?.is_some() {
                self.need_path(path, context);
                break;
            }
        }
        Ok(())
    }

    /// Notes that capabilities are likely to be needed.
    pub(crate) fn need_capabilities(&mut self, names: &[&str], context: &Context) {
        for name in names.iter().filter_map(|name| Capability::new(*name).ok()) {
            let need = Need::Capability { name };
            self.ledger
                .add(need, Strength::Soft, None, context.chain.clone());
        }
    }

    /// Passes errors on where the entrypoint depends on what failed, and makes warnings of them elsewhere.
    pub(crate) fn tolerate<T>(
        &mut self,
        context: &Context,
        result: Result<T, AnalysisError>,
    ) -> Result<Option<T>, AnalysisError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if context.strength == Strength::Hard || error.is_fatal() => Err(error),
            Err(error) => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    text.push_str(&format!(": {cause}"));
                    source = cause.source();
                }
                self.warnings.insert(text);
                Ok(None)
            }
        }
    }

    /// What is at a path that a word or an import may mean; nothing any more when too many have been asked for.
    pub(crate) fn probe(&self, path: &str) -> Option<Found> {
        if !self.may_probe() {
            return None;
        }
        self.root.lookup(path).ok().flatten()
    }

    /// Takes one look-up off the account.
    pub(crate) fn may_probe(&self) -> bool {
        let left = self.probes.get().checked_sub(1);
        self.probes.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Whether a text is still read for what it says; takes its length off the account.
    pub(crate) fn may_read(&mut self, len: usize) -> bool {
        let reads = self.soft_bytes < MAX_SOFT_BYTES;
        self.soft_bytes += len;
        reads
    }

    /// Leaves a quarter of what words may lead to for the command line, however much the entry's own text used up.
    pub(crate) fn spare_for_words(&mut self) {
        self.soft_files = self.soft_files.min(MAX_SOFT_FILES - MAX_SOFT_FILES / 4);
        self.soft_bytes = self.soft_bytes.min(MAX_SOFT_BYTES - MAX_SOFT_BYTES / 4);
        self.probes.set(self.probes.get().max(MAX_PROBES / 4));
    }

    /// Whether a file has still to be looked into; remembers that it was. Files that only words lead to are limited.
    pub(crate) fn enter(&mut self, what: &str, context: &Context) -> bool {
        if context.depth > MAX_DEPTH {
            return false;
        }
        if context.strength == Strength::Soft {
            if self.soft_files >= MAX_SOFT_FILES {
                return false;
            }
            self.soft_files += 1;
        }
        match self.seen.get(what) {
            Some(strength) if *strength >= context.strength => false,
            _ => {
                self.seen.insert(what.to_owned(), context.strength);
                true
            }
        }
    }

    /// The path at which a component has `path`, its links followed; `None` where no component has it.
    pub(crate) fn in_library(&self, path: &str) -> Result<Option<String>, CatalogueError> {
        let mut path = merged_usr(&clean(path)).into_owned();
        let mut first = true;
        for _ in 0..MAX_DEPTH {
            let mut providers = self.library.providing_path(&path)?;
            if providers.is_empty() {
                return Ok((!first).then_some(path));
            }
            first = false;
            let best = self.preferred(providers.iter().map(|provider| provider.component))?;
            providers.retain(|provider| Some(provider.component) == best);
            match providers.pop().and_then(|provider| provider.target) {
                None => return Ok(Some(path)),
                Some(target) => {
                    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                    let next = if target.starts_with('/') {
                        target
                    } else {
                        format!("{directory}/{target}")
                    };
                    path = merged_usr(&clean(&next)).into_owned();
                }
            }
        }
        Ok(None)
    }

    /// Whether it is a core fragment, below every composition.
    pub(crate) fn is_core(&self, index: ComponentIndex) -> Result<bool, CatalogueError> {
        Ok(self.library.component(index)?.grants(CORE_CAPABILITY))
    }

    /// The component that resolution prefers among several: the core fragment, then by preference, then by name.
    pub(crate) fn preferred(
        &self,
        components: impl Iterator<Item = ComponentIndex>,
    ) -> Result<Option<ComponentIndex>, CatalogueError> {
        preferred(self.library, components)
    }
}

/// As [`Analyser::preferred`].
pub(crate) fn preferred(
    library: &dyn Catalogue,
    components: impl Iterator<Item = ComponentIndex>,
) -> Result<Option<ComponentIndex>, CatalogueError> {
    let mut best = None;
    for index in components {
        let summary = library.component(index)?;
        let rank = (
            !summary.grants(CORE_CAPABILITY),
            std::cmp::Reverse(summary.preference),
            summary.name,
            index,
        );
        if best.as_ref().is_none_or(|best| rank < *best) {
            best = Some(rank);
        }
    }
    Ok(best.map(|(.., index)| index))
}

/// A path without `.`, `..` and empty components, read as text.
pub(crate) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
