//! Conversions between character sets that libraries of components make for the bundle's own programs.

use std::collections::BTreeSet;

use fragment_types::{EvidenceKind, Need};

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::rules;

impl Analyser<'_> {
    /// The plugins of iconv(3) that are common, where a library that a file of the bundle names converts. Libraries behind that
    /// one are passed over: they are there for something else (curl's libidn2), and convert between built-in sets.
    pub(crate) fn conversions(&mut self) -> Result<(), AnalysisError> {
        let (symbol, plugin) = rules::CONVERSIONS;
        let mut direct = Vec::new();
        for requirement in self.ledger.requirements() {
            let named = requirement.chain.last().is_some_and(|last| {
                last.kind == EvidenceKind::Needed && self.own.contains_key(&last.source)
            });
            match &requirement.need {
                Need::Soname(needed) if named && requirement.is_missing() => {
                    direct.push((needed.clone(), requirement.chain.clone()));
                }
                _ => {}
            }
        }
        for (needed, chain) in direct {
            let mut providers = self.library.providing_soname(&needed.soname)?;
            providers.retain(|one| one.machine == needed.machine && one.public);
            let best = self.preferred(providers.iter().map(|one| one.component))?;
            let Some(provider) = providers.iter().find(|one| Some(one.component) == best) else {
                continue;
            };
            let summary = self.library.component(provider.component)?;
            let empty = BTreeSet::new();
            let telling = summary.telling.iter().find(|one| one.path == provider.path);
            if !telling.map_or(&empty, |one| &one.imports).contains(symbol) {
                continue;
            }
            let context = Context {
                strength: fragment_types::Strength::Soft,
                chain,
                depth: 0,
            };
            let source = format!("{} of component {}", needed.soname, summary.name);
            let step = context.with(EvidenceKind::LibrarySymbol, &source, symbol);
            self.need_path(plugin, &step);
            break;
        }
        Ok(())
    }
}
