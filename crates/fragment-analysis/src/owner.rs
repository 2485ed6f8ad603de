//! Files of the bundle that the library knows, and what the imports of those that it does not know imply.

use std::collections::BTreeSet;
use std::io::Read;

use fragment_sys::root::Link;
use fragment_types::digest::Digest;
use fragment_types::manifest::PathKind;
use fragment_types::path::merged_usr;
use fragment_types::symbol::is_plugged_charset;
use fragment_types::{Evidence, EvidenceKind, Need, Strength};
use sha2::{Digest as _, Sha256};

use crate::analyser::{Analyser, Context, OwnFile};
use crate::contents::MAX_CONSTANTS;
use crate::elf;
use crate::error::AnalysisError;
use crate::program::wrong_elf;
use crate::rules;
use crate::words::file_name;

/// Most bytes that are hashed, of all files. Path and size match already when it comes to that; beyond it they do.
const MAX_HASHED: u64 = 16 << 20;

impl Analyser<'_> {
    /// Owners and imports of the application's own files. Both can only add to a composition, so this is for thin bundles.
    ///
    /// Imports say little (`connect` is imported by programs that only speak to a local socket, and by shells), so they are
    /// asked only of programs that the library does not know, neither the file nor a command of that name: of known ones, the
    /// recipes and requirements of components tell better what they need. bash imports `getaddrinfo`, and is no reason for a
    /// resolver.
    pub(crate) fn own_files(&mut self) -> Result<(), AnalysisError> {
        for (link, chain) in std::mem::take(&mut self.entry_links) {
            self.link_owner(&link, chain)?;
        }
        let own: Vec<OwnFile> = self.own.values().cloned().collect();
        for file in own {
            let context = Context {
                strength: Strength::Soft,
                chain: file.chain.clone(),
                depth: 0,
            };
            let known = self.owner(&file, &context)?;
            let name = file_name(&file.found.path);
            let speaks = !known && file.speaks && self.library.providing_command(name)?.is_empty();
            let mut imports = BTreeSet::new();
            if speaks {
                let result = self.symbols(&file, &context);
                imports = self.tolerate(&context, result)?.unwrap_or_default();
                self.sets_locale |= rules::all_of(rules::SETS_LOCALE, &imports).is_some();
            }
            if known && file.speaks && !file.is_script {
                let result = self.converts(&file, &context);
                self.tolerate(&context, result)?;
            }
            if !known && !file.is_script {
                let told = speaks.then_some(&imports);
                let result = self.contents(&file, told, &context);
                self.tolerate(&context, result)?;
            }
        }
        Ok(())
    }

    /// Notes the component whose file this is. The bundle holds one file of a package, and the package's other files and
    /// dependencies belong to it; the requirement is soft, because a bundle that starts without them is complete.
    fn owner(&mut self, file: &OwnFile, context: &Context) -> Result<bool, AnalysisError> {
        let path = merged_usr(&file.found.path).into_owned();
        let mut candidates = self.library.providing_path(&path)?;
        candidates.retain(|provider| {
            provider.kind == PathKind::File
                && provider.size == file.found.size
                && provider.digest.is_some()
        });
        if candidates.is_empty() {
            return Ok(false);
        }
        self.hashed += file.found.size;
        let by = if self.hashed <= MAX_HASHED {
            let hashed = self.hash(&file.found.path);
            let Some(digest) = self.tolerate(context, hashed)? else {
                return Ok(false);
            };
            candidates.retain(|provider| provider.digest == Some(digest));
            ""
        } else {
            self.hashed -= file.found.size;
            ", by path and size"
        };
        let best = self.preferred(candidates.iter().map(|provider| provider.component))?;
        let Some(index) = best else { return Ok(false) };
        let name = self.library.component(index)?.name;
        let detail = format!("is the file of component {name}{by}");
        let context = context.with(EvidenceKind::Owner, &file.found.path, detail);
        self.ledger.add(
            Need::Component { name },
            Strength::Soft,
            None,
            context.chain,
        );
        Ok(true)
    }

    /// Notes the component that has a link as the bundle has it: a link of the alternatives system to a program of another
    /// package is all that a package has of a command.
    fn link_owner(&mut self, link: &Link, chain: Vec<Evidence>) -> Result<(), AnalysisError> {
        let path = merged_usr(&link.path).into_owned();
        let mut candidates = self.library.providing_path(&path)?;
        candidates.retain(|provider| provider.target.as_ref() == Some(&link.target));
        let best = self.preferred(candidates.iter().map(|provider| provider.component))?;
        if let Some(index) = best {
            let name = self.library.component(index)?.name;
            let context = Context {
                strength: Strength::Soft,
                chain,
                depth: 0,
            };
            let detail = format!("is the link of component {name}");
            let context = context.with(EvidenceKind::Owner, &link.path, detail);
            let need = Need::Component { name };
            self.ledger.add(need, Strength::Soft, None, context.chain);
        }
        Ok(())
    }

    /// The common plugins of iconv(3) for a program that converts and names a character set that needs one: of its package no
    /// dependency says so.
    fn converts(&mut self, file: &OwnFile, context: &Context) -> Result<(), AnalysisError> {
        let path = &file.found.path;
        let wrong = wrong_elf(path);
        let source = self.elf_source(&file.found)?;
        if !source.is_elf() {
            return Ok(());
        }
        let (symbol, plugin) = rules::CONVERSIONS;
        if !elf::imports(&*source).map_err(wrong)?.contains(symbol) {
            return Ok(());
        }
        let contents = elf::contents(&*source, true, MAX_CONSTANTS).map_err(wrong)?;
        let mut texts = contents.constants.split(|byte| *byte == 0);
        if let Some(name) = texts.find(|text| is_plugged_charset(text)) {
            let detail = format!("{symbol}, {}", String::from_utf8_lossy(name));
            let context = context.with(EvidenceKind::Symbol, path, detail);
            self.need_path(plugin, &context);
        }
        Ok(())
    }

    fn hash(&self, path: &str) -> Result<Digest, AnalysisError> {
        let file = self.root.open_file(path)?;
        let io = |source| fragment_sys::root::RootError::Io {
            operation: "read",
            path: path.to_owned(),
            source,
        };
        let (mut file, mut hash) = (file.take(MAX_HASHED), Sha256::new());
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer).map_err(io)? {
                0 => return Ok(Digest::from_bytes(hash.finalize().into())),
                len => hash.update(&buffer[..len]),
            }
        }
    }

    /// What a file imports, and what that implies.
    fn symbols(
        &mut self,
        file: &OwnFile,
        context: &Context,
    ) -> Result<BTreeSet<String>, AnalysisError> {
        let path = &file.found.path;
        let source = self.elf_source(&file.found)?;
        if !source.is_elf() {
            return Ok(BTreeSet::new());
        }
        let imports = elf::imports(&*source).map_err(wrong_elf(path))?;
        for (rule, names) in rules::implied(&imports) {
            let context = context.with(EvidenceKind::Symbol, path, names.join(", "));
            self.need_capabilities(rule.capabilities, &context);
            for path in rule.paths {
                self.need_path(path, &context);
            }
        }
        Ok(imports)
    }
}
