//! Data that a shared library reads for whoever uses it, of a package that the library's does not depend on.

use std::collections::BTreeSet;

use fragment_types::{ComponentIndex, EvidenceKind, Need, Requirement, Strength};

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;
use crate::rules;

/// Most sets of components that commands are of.
const MAX_SUPPLIERS: usize = 64;

impl Analyser<'_> {
    /// Data of libraries that files of the bundle name in DT_NEEDED, and of those that the components name which supply a
    /// command or program.
    pub(crate) fn library_data(&mut self) -> Result<(), AnalysisError> {
        let found: Vec<Requirement> = self.ledger.requirements().to_vec();
        let mut asked = BTreeSet::new();
        for requirement in found {
            let by_own_file = requirement.chain.last().is_some_and(|last| {
                last.kind == EvidenceKind::Needed && self.own.contains_key(&last.source)
            });
            let sonames: Vec<String> = match &requirement.need {
                Need::Soname(needed) if by_own_file => vec![needed.soname.clone()],
                _ if requirement.is_missing() => {
                    let mut suppliers = self.suppliers(&requirement.need)?;
                    suppliers.sort();
                    // most commands are of the same few components
                    if asked.len() >= MAX_SUPPLIERS || !asked.insert(suppliers.clone()) {
                        continue;
                    }
                    let Some(best) = self.preferred(suppliers.into_iter())? else {
                        continue;
                    };
                    let needs = self.library.component(best)?.needs.into_iter();
                    needs.map(|needed| needed.soname).collect()
                }
                _ => continue,
            };
            for soname in &sonames {
                let Some(path) = rules::library_data(soname) else {
                    continue;
                };
                if self.in_library(&path)?.is_some() {
                    let context = Context {
                        strength: Strength::Soft,
                        chain: requirement.chain.clone(),
                        depth: 0,
                    };
                    let detail = format!("reads {path}");
                    let step = context.with(EvidenceKind::Needed, soname, detail);
                    self.need_path(&path, &step);
                }
            }
        }
        Ok(())
    }

    /// Components that have a command, or a program that is named by its path.
    fn suppliers(&self, need: &Need) -> Result<Vec<ComponentIndex>, AnalysisError> {
        let is_program = |path: &str| path.contains("/bin/") || path.contains("/sbin/");
        Ok(match need {
            Need::Command { name } => {
                let providers = self.library.providing_command(name)?.into_iter();
                providers.map(|provider| provider.component).collect()
            }
            Need::Path { path } if is_program(path) => match self.in_library(path)? {
                Some(path) => {
                    let providers = self.library.providing_path(&path)?.into_iter();
                    providers.map(|provider| provider.component).collect()
                }
                None => Vec::new(),
            },
            _ => Vec::new(),
        })
    }
}
