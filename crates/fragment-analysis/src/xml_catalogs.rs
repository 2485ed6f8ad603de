//! Names of XML documents that catalogues of the system lead to files (OASIS XML Catalogs 1.1): addresses of style sheets and
//! schemas, public identifiers of document types.

use fragment_sys::root::Kind;

use crate::analyser::{Analyser, Context, Place};
use crate::command_line::word_kind;
use crate::error::AnalysisError;
use crate::words::{Word, file_name};

/// Commands that read XML with a library that asks the catalogues (libxml2, and what runs it).
const READERS: &[&str] = &[
    "asciidoc",
    "a2x",
    "dblatex",
    "fop",
    "jing",
    "saxon",
    "saxonb-xslt",
    "xmllint",
    "xmlto",
    "xmlstarlet",
    "xsltproc",
];
/// Longest document that is read.
const MAX_DOCUMENT: usize = 64 << 10;
/// Most names of one document.
const MAX_NAMES: usize = 32;
/// Most beginnings of a name that are looked up.
const MAX_BEGINNINGS: usize = 16;
/// The catalogue that libraries read first.
const CATALOGUE: &str = "/etc/xml/catalog";

impl Analyser<'_> {
    /// What the operands of a command that reads XML name, and what documents of the bundle among them name.
    pub(crate) fn xml_names(
        &mut self,
        words: &[Word],
        context: &Context,
    ) -> Result<(), AnalysisError> {
        let Some((first, arguments)) = words.split_first() else {
            return Ok(());
        };
        if !READERS.contains(&file_name(&first.text)) {
            return Ok(());
        }
        for word in arguments.iter().filter(|word| word.literal) {
            let step = || context.with(word_kind(word), &word.source, &word.text);
            if word.text.contains("://") {
                self.xml_name(&word.text, &step())?;
            } else if !word.text.starts_with('-')
                && let Ok(Place::Here { found, .. }) = self.locate(&word.text)
                && found.kind == Kind::File
            {
                let bytes = self.root.read_prefix(&found.path, MAX_DOCUMENT)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if !self.may_read(text.len()) {
                    break;
                }
                for name in names(&text) {
                    let kind = fragment_types::EvidenceKind::Import;
                    self.xml_name(name, &step().with(kind, &found.path, name))?;
                }
            }
        }
        Ok(())
    }

    /// A name: the component whose catalogue leads it on, by the longest beginning that one has.
    fn xml_name(&mut self, name: &str, context: &Context) -> Result<(), AnalysisError> {
        if self.probe(CATALOGUE).is_some() {
            return Ok(());
        }
        for beginning in beginnings(name) {
            if !self.library.providing_module("xml", beginning)?.is_empty() {
                self.need_module("xml", beginning, None, context);
                break;
            }
        }
        Ok(())
    }
}

/// Public identifiers and addresses that a document names: of its type, of what it includes.
fn names(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices(['"', '\'']) {
        let quote = &text[at..=at];
        let rest = &text[at + 1..];
        let Some(end) = rest.find(quote).filter(|end| (4..=256).contains(end)) else {
            continue;
        };
        let value = &rest[..end];
        let is_public = value.starts_with("-//") || value.starts_with("+//");
        let before = text[..at].trim_end();
        let is_reference = ["PUBLIC", "SYSTEM", "href=", "schemaLocation="]
            .iter()
            .any(|word| before.ends_with(word));
        let is_address = value.starts_with("http://") || value.starts_with("https://");
        if (is_public || is_reference && is_address) && out.len() < MAX_NAMES {
            out.push(value);
        }
    }
    out
}

/// Beginnings of a name, the longest first: catalogues end them behind a slash, a space or a letter of the last word.
fn beginnings(name: &str) -> impl Iterator<Item = &str> {
    let ends = name
        .char_indices()
        .rev()
        .filter(|(_, c)| matches!(c, '/' | ' ' | ':'))
        .flat_map(|(at, c)| [at + c.len_utf8(), at]);
    std::iter::once(name.len())
        .chain(ends)
        .filter(|end| *end >= 4)
        .take(MAX_BEGINNINGS)
        .map(|end| &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_name_types_and_what_they_include() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE article PUBLIC \"-//OASIS//DTD DocBook XML V4.5//EN\" \n 'x.dtd'>\n\
            <xsl:import href=\"http://docbook.example/release/xsl/docbook.xsl\"/><a href='own.xsl' title=\"http://no\"/>";
        assert_eq!(
            names(text),
            [
                "-//OASIS//DTD DocBook XML V4.5//EN",
                "http://docbook.example/release/xsl/docbook.xsl"
            ]
        );
        assert_eq!(names("\"-//x"), [""; 0]);
    }

    #[test]
    fn names_begin_as_catalogues_spell_them() {
        let of = |name| beginnings(name).collect::<Vec<_>>();
        assert!(
            of("http://a.example/release/xsl/current/x.xsl")
                .contains(&"http://a.example/release/xsl/")
        );
        assert!(of("-//OASIS//DTD DocBook XML V4.5//EN").contains(&"-//OASIS//DTD DocBook XML"));
        assert!(of(&"/".repeat(1 << 16)).len() <= MAX_BEGINNINGS);
    }
}
