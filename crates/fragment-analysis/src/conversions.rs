//! Conversions between character sets that libraries of components make for a program.

use std::collections::BTreeSet;

use fragment_types::manifest::NeededSoname;
use fragment_types::{ComponentSummary, Evidence, EvidenceKind, Need, Requirement, Strength};

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::rules;

impl Analyser<'_> {
    /// The common plugins of iconv(3), where a library converts that a file of the bundle names, or the program that a component
    /// supplies for the entry or an interpreter. Libraries behind that one are passed over: they are there for something else
    /// (curl's libidn2), and convert between built-in sets.
    pub(crate) fn conversions(&mut self) -> Result<(), AnalysisError> {
        let (symbol, plugin) = rules::CONVERSIONS;
        let missing = self.ledger.requirements().iter();
        let missing: Vec<Requirement> = missing.filter(|one| one.is_missing()).cloned().collect();
        let mut asked = BTreeSet::new();
        for requirement in missing {
            let by_own_file = requirement.chain.last().is_some_and(|last| {
                last.kind == EvidenceKind::Needed && self.own.contains_key(&last.source)
            });
            let supplier = match requirement.strength {
                Strength::Hard => self.supplier(&requirement.need)?,
                Strength::Soft => None,
            };
            let mut sonames = match requirement.need {
                Need::Soname(needed) if by_own_file => vec![needed],
                _ => Vec::new(),
            };
            let mut source = None;
            if let Some(supplier) = supplier {
                let mut telling = supplier.telling.iter();
                source = telling
                    .find(|one| one.imports.contains(symbol))
                    .map(|one| format!("{} of component {}", one.path, supplier.name));
                sonames = supplier.needs;
            }
            for needed in sonames {
                if source.is_none() && asked.insert((needed.soname.clone(), needed.machine)) {
                    source = self.converter(&needed)?;
                }
            }
            if let Some(source) = source {
                let step = Evidence {
                    kind: EvidenceKind::LibrarySymbol,
                    source,
                    detail: symbol.to_owned(),
                };
                let context = Context {
                    strength: Strength::Soft,
                    chain: [requirement.chain, vec![step]].concat(),
                    depth: 0,
                };
                self.need_path(plugin, &context);
                break;
            }
        }
        Ok(())
    }

    /// The component that supplies a program: a command, or what is needed by its path.
    pub(crate) fn supplier(&self, need: &Need) -> Result<Option<ComponentSummary>, AnalysisError> {
        let path = match need {
            Need::Path { path } => Some(path.clone()),
            Need::Command { name } => {
                let providers = self.library.providing_command(name)?;
                providers.into_iter().next().map(|provider| provider.path)
            }
            _ => None,
        };
        let path = path.map(|path| self.in_library(&path)).transpose()?;
        let Some(path) = path.flatten() else {
            return Ok(None);
        };
        let providers = self.library.providing_path(&path)?;
        let best = self.preferred(providers.iter().map(|one| one.component))?;
        Ok(best.map(|best| self.library.component(best)).transpose()?)
    }

    /// The library of a soname, for an evidence, if it converts.
    fn converter(&self, needed: &NeededSoname) -> Result<Option<String>, AnalysisError> {
        let mut providers = self.library.providing_soname(&needed.soname)?;
        providers.retain(|one| one.machine == needed.machine && one.public);
        let best = self.preferred(providers.iter().map(|one| one.component))?;
        let Some(provider) = providers.iter().find(|one| Some(one.component) == best) else {
            return Ok(None);
        };
        let summary = self.library.component(provider.component)?;
        let mut telling = summary.telling.iter();
        let converts = telling
            .any(|one| one.path == provider.path && one.imports.contains(rules::CONVERSIONS.0));
        Ok(converts.then(|| format!("{} of component {}", needed.soname, summary.name)))
    }
}
