//! Capabilities that words, variables, imports and strings imply.

use std::collections::{BTreeSet, VecDeque};

use fragment_types::{
    Capability, Catalogue, CatalogueError, Evidence, EvidenceKind, Need, Requirement, Strength,
};

use crate::analyser::{Analyser, Context, preferred};
use crate::rules;
use crate::words::file_name;

/// Most libraries of components that are asked for what they import.
const MAX_LIBRARIES: usize = 512;

impl Analyser<'_> {
    /// A word of a command line or script that is, or ends in, a path (`of=/dev/sda`, `--device=/dev/sda`).
    pub(crate) fn path_implies(&mut self, text: &str, context: &Context) {
        let path = text.rsplit_once('=').map_or(text, |(_, value)| value);
        let capabilities = rules::path_capabilities(path);
        self.need_capabilities(capabilities, context);
    }

    /// A variable of the environment, by its name.
    pub(crate) fn variable_implies(&mut self, name: &str, context: &Context) {
        for (variable, detail, capabilities) in rules::VARIABLES {
            if *variable == name {
                let source = format!("env {name}");
                let context = context.with(EvidenceKind::Environment, &source, *detail);
                self.need_capabilities(capabilities, &context);
            }
        }
    }

    /// A Python module that a script imports. As with symbols, scripts of the library speak through their component.
    pub(crate) fn module_implies(
        &mut self,
        module: &str,
        context: &Context,
    ) -> Result<(), CatalogueError> {
        for (modules, capabilities) in rules::PYTHON_CAPABILITIES {
            if !modules.contains(&module) {
                continue;
            }
            let script = context
                .chain
                .last()
                .map_or("", |last| file_name(&last.source));
            if self.library.providing_command(script)?.is_empty() {
                self.need_capabilities(capabilities, context);
            }
        }
        Ok(())
    }

    /// A string of a program: the weakest evidence there is.
    pub(crate) fn text_implies(&mut self, text: &str, source: &str, context: &Context) {
        let capabilities = rules::text_capabilities(text);
        if !capabilities.is_empty() {
            let context = context.with(EvidenceKind::Text, source, shown(text));
            self.need_capabilities(capabilities, &context);
        }
    }
}

/// A string for an evidence: what follows `://` may hold names and passwords.
fn shown(text: &str) -> String {
    const MAX: usize = 80;
    match text.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => text.chars().take(MAX).collect(),
    }
}

/// Capabilities that symbols imply which the libraries import that components would supply for `requirements`: soft, and of the
/// grade [`LibraryImport`](fragment_types::Grade::LibraryImport). Those that stronger evidence has found already are left out.
///
/// Not part of an analysis: it costs a look-up for each library, and what it finds is composed only where somebody asks for
/// evidence as weak as that.
///
/// # Errors
/// When the catalogue is damaged.
pub fn library_imports(
    requirements: &[Requirement],
    library: &dyn Catalogue,
) -> Result<Vec<Requirement>, CatalogueError> {
    let mut known: BTreeSet<Capability> = BTreeSet::new();
    let mut queue = VecDeque::new();
    let mut seen = BTreeSet::new();
    for requirement in requirements {
        match &requirement.need {
            Need::Capability { name } => drop(known.insert(name.clone())),
            Need::Soname(needed)
                if requirement.is_missing()
                    && seen.insert((needed.soname.clone(), needed.machine)) =>
            {
                queue.push_back((needed.clone(), requirement.chain.clone()));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    while let Some((needed, chain)) = queue.pop_front() {
        let mut providers = library.providing_soname(&needed.soname)?;
        providers.retain(|one| {
            one.machine == needed.machine && needed.versions.is_subset(&one.versions)
        });
        let best = preferred(library, providers.iter().map(|one| one.component))?;
        let Some(provider) = providers
            .into_iter()
            .find(|one| Some(one.component) == best)
        else {
            continue;
        };
        let summary = library.component(provider.component)?;
        let telling = summary.telling.iter().find(|one| one.path == provider.path);
        if let Some(telling) = telling {
            for (rule, names) in rules::implied(&telling.imports) {
                for name in rule
                    .capabilities
                    .iter()
                    .filter_map(|name| Capability::new(*name).ok())
                {
                    if !known.insert(name.clone()) {
                        continue;
                    }
                    let step = Evidence {
                        kind: EvidenceKind::LibrarySymbol,
                        source: format!("{} of component {}", needed.soname, summary.name),
                        detail: names.join(", "),
                    };
                    found.push(Requirement {
                        need: Need::Capability { name },
                        strength: Strength::Soft,
                        satisfied_by: None,
                        chain: [chain.clone(), vec![step]].concat(),
                    });
                }
            }
        }
        for next in provider.needs {
            if seen.len() < MAX_LIBRARIES && seen.insert((next.soname.clone(), next.machine)) {
                let step = Evidence {
                    kind: EvidenceKind::Needed,
                    source: format!("{} of component {}", needed.soname, summary.name),
                    detail: next.soname.clone(),
                };
                queue.push_back((next, [chain.clone(), vec![step]].concat()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_scheme_is_not_shown() {
        assert_eq!(shown("https://joe:s3cret@example.org"), "https://…");
        assert_eq!(shown("/dev/sda"), "/dev/sda");
    }
}
