//! Descriptions of terminals (terminfo(5)): the one that `TERM` names, for programs that draw on theirs.

use fragment_types::{Evidence, EvidenceKind, Need, Strength};

use crate::analyser::{Analyser, Context};
use crate::error::AnalysisError;

/// Where the C library of descriptions looks, in this order (Debian's libtinfo).
const DIRECTORIES: [&str; 3] = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];
/// Libraries that read them, as their sonames begin.
const READERS: [&str; 5] = [
    "libedit.so.",
    "libncurses.so.",
    "libncursesw.so.",
    "libreadline.so.",
    "libtinfo.so.",
];

impl Analyser<'_> {
    /// The description of the container's terminal, where a file of the bundle names a library that reads it, or the program of
    /// a component does that something names.
    pub(crate) fn terminal(&mut self) -> Result<(), AnalysisError> {
        let name = self.task.variable("TERM").unwrap_or_default().to_owned();
        if !self.task.terminal || name.is_empty() {
            return Ok(());
        }
        let requirements = self.ledger.requirements().to_vec();
        for requirement in requirements {
            let reader = match &requirement.need {
                Need::Soname(needed) => is_reader(&needed.soname).then(|| needed.soname.clone()),
                need if requirement.is_missing() => {
                    let supplier = self.supplier(need)?;
                    let needs = supplier.into_iter().flat_map(|one| one.needs);
                    let mut sonames = needs.map(|needed| needed.soname);
                    sonames.find(|soname| is_reader(soname))
                }
                _ => None,
            };
            if let Some(source) = reader {
                let step = Evidence {
                    kind: EvidenceKind::Environment,
                    source: "env TERM".to_owned(),
                    detail: format!("names the terminal that {source} draws on"),
                };
                let context = Context {
                    strength: Strength::Soft,
                    chain: [requirement.chain, vec![step]].concat(),
                    depth: 0,
                };
                return self.terminal_description(&name, &context);
            }
        }
        Ok(())
    }

    /// The description of a terminal: the bundle's, else a component's.
    pub(crate) fn terminal_description(
        &mut self,
        name: &str,
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
        let Some(first) = name.chars().next().filter(|_| name.chars().all(plain)) else {
            return Ok(());
        };
        let paths = DIRECTORIES.map(|directory| format!("{directory}/{first}/{name}"));
        if paths.iter().any(|path| self.probe(path).is_some()) {
            return Ok(());
        }
        self.need_first(&paths, context)
    }
}

fn is_reader(soname: &str) -> bool {
    READERS.iter().any(|reader| soname.starts_with(reader))
}
