//! Reading a small YAML document within bounds, every value with its line.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use fragment_types::{Capability, ComponentName, Grade};

use super::nearest::nearest;
use super::{Wishes, compose};

/// Largest document, in bytes.
pub const LIMIT: usize = 64 << 10;

/// Deepest nesting of lists and maps.
const DEPTH: usize = 16;
/// Most values, those that aliases repeat among them.
const VALUES: usize = 16_384;
/// Most anchors and most aliases.
const ANCHORS: usize = 64;
/// The keys that every document has.
pub(super) const WISHES: [&str; 5] = ["compose", "components", "exclude", "require", "min_grade"];
/// Longest value shown in an error message, in characters.
const SHOWN: usize = 80;

/// A document that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct DocumentError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there, with key and value.
    pub problem: String,
}

/// A document: a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The file, for messages.
    pub file: String,
    /// Its keys, in order.
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line, from 1.
    pub line: u64,
    /// The value.
    pub value: Node,
}

/// A value with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The line, from 1.
    pub line: u64,
    /// The value.
    pub content: Content,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, or `null`.
    Null,
    /// A text, a number or a truth value.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in order.
    Map(Vec<Entry>),
}

impl Document {
    /// Reads a document of at most [`LIMIT`] bytes.
    ///
    /// # Errors
    /// When it is longer, no YAML, several documents, or no map.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut document = Self {
            file: file.to_owned(),
            entries: Vec::new(),
        };
        if bytes.len() > LIMIT {
            return Err(document.error(1, format!("longer than {} KiB", LIMIT >> 10)));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            let line = before.filter(|byte| **byte == b'\n').count() as u64 + 1;
            document.error(line, "not UTF-8".to_owned())
        })?;
        // as of /dev/null, which stands for no configuration
        if text.trim_ascii().is_empty() {
            return Ok(document);
        }
        let root: Spanned<Content> =
            serde_saphyr::from_str_with_options(text, bounds()).map_err(|error| {
                let line = error.location().map_or(1, |location| location.line());
                let problem = error.without_snippet().to_string();
                document.error(line, problem)
            })?;
        match root.value {
            Content::Null => {}
            Content::Map(entries) => document.entries = entries,
            other => {
                let problem = format!("a map of keys is expected, not {}", other.kind());
                return Err(document.error(line_of(&root.referenced), problem));
            }
        }
        Ok(document)
    }

    /// Takes `entry` as a wish; `false`: it is none of those that every document has. What cannot be followed goes to `mistakes`.
    pub fn wish(
        &self,
        wishes: &mut Wishes,
        entry: &Entry,
        mistakes: &mut Vec<DocumentError>,
    ) -> bool {
        if !WISHES.contains(&entry.key.as_str()) {
            return false;
        }
        if entry.value.content == Content::Null {
            return true;
        }
        let line = entry.value.line;
        match entry.key.as_str() {
            "components" => wishes.components = self.names(entry, ComponentName::new, mistakes),
            "exclude" => wishes.exclude = self.names(entry, ComponentName::new, mistakes),
            "require" => wishes.require = self.names(entry, Capability::new, mistakes),
            key => {
                let said = self.text(entry).and_then(|text| {
                    let invalid =
                        |expected: &dyn fmt::Display| self.invalid(line, key, text, expected);
                    if key == "compose" {
                        let when = compose(text).map_err(|expected| invalid(&expected))?;
                        wishes.compose = Some(when);
                    } else {
                        let grade = text.parse::<Grade>().map_err(|error| invalid(&error))?;
                        wishes.min_grade = Some(grade);
                    }
                    Ok(())
                });
                mistakes.extend(said.err());
            }
        }
        true
    }

    /// The value of `entry` as a text.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text<'e>(&self, entry: &'e Entry) -> Result<&'e str, DocumentError> {
        match &entry.value.content {
            Content::Text(text) => Ok(text),
            other => Err(self.error(
                entry.value.line,
                format!("{}: a text is expected, not {}", entry.key, other.kind()),
            )),
        }
    }

    /// The value of `entry` as a list of texts with their lines.
    ///
    /// # Errors
    /// When it is something else.
    pub fn list<'e>(&self, entry: &'e Entry) -> Result<Vec<(u64, &'e str)>, DocumentError> {
        let wrong = |node: &Node, expected: &str| {
            let found = node.content.kind();
            let problem = format!("{}: {expected} is expected, not {found}", entry.key);
            self.error(node.line, problem)
        };
        match &entry.value.content {
            Content::List(items) => items
                .iter()
                .map(|item| match &item.content {
                    Content::Text(text) => Ok((item.line, text.as_str())),
                    _ => Err(wrong(item, "a text")),
                })
                .collect(),
            _ => Err(wrong(&entry.value, "a list")),
        }
    }

    /// The value of `entry` as a list of names; those outside their grammar go to `mistakes`.
    pub(super) fn names<'e, T, L: FromIterator<T>, E: fmt::Display>(
        &self,
        entry: &'e Entry,
        parse: impl Fn(&'e str) -> Result<T, E>,
        mistakes: &mut Vec<DocumentError>,
    ) -> L {
        let items = self.list(entry).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Vec::new()
        });
        let read = |(line, text)| match parse(text) {
            Ok(name) => Some(name),
            Err(error) => {
                mistakes.push(self.invalid(line, &entry.key, text, &error));
                None
            }
        };
        items.into_iter().filter_map(read).collect()
    }

    /// The error for a value outside its grammar.
    #[must_use]
    pub fn invalid(
        &self,
        line: u64,
        key: &str,
        value: &str,
        expected: &dyn fmt::Display,
    ) -> DocumentError {
        let value = shown(value);
        self.error(line, format!("{key}: `{value}` is not valid: {expected}"))
    }

    /// The error for a key that there is not in the map of `prefix` (`cache.`; empty: the document): it tells the one that was
    /// meant, of `known` keys there and `others` elsewhere, or what there is.
    pub(super) fn unknown(
        &self,
        entry: &Entry,
        prefix: &str,
        known: &[&str],
        others: &[&str],
    ) -> DocumentError {
        let name = format!("{prefix}{}", entry.key);
        let here: Vec<String> = known.iter().map(|key| format!("{prefix}{key}")).collect();
        let all = here
            .iter()
            .map(String::as_str)
            .chain(others.iter().copied());
        let elsewhere = || nearest(&entry.key, others.iter().copied());
        let advice = match nearest(&name, all).or_else(elsewhere) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("use {}", or(known)),
        };
        let (name, value) = (shown(&name), entry.value.content.kind());
        let problem = format!("`{name}` (of {value}) is no key of this file: {advice}");
        self.error(entry.line, problem)
    }

    pub(super) fn error(&self, line: u64, problem: String) -> DocumentError {
        DocumentError {
            file: self.file.clone(),
            line,
            problem,
        }
    }
}

impl Content {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Text(text) => format!("`{}`", shown(text)),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

/// Not more of a value than a message can take.
fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(SHOWN).collect();
    let end = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("{}{end}", start.escape_debug())
}

/// `a, b or c`.
fn or(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

/// YAML 1.2, where `off` is a word; one document, small and flat.
fn bounds() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: VALUES * 2,
            max_nodes: VALUES,
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_aliases: ANCHORS,
            max_anchors: ANCHORS,
            max_documents: 1,
            max_merge_keys: 0,
            max_total_scalar_bytes: LIMIT * 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: VALUES },
        strict_booleans: true,
        with_snippet: false,
    }
}

fn line_of(location: &Location) -> u64 {
    location.line().max(1)
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self {
            line: line_of(&spanned.referenced),
            content: spanned.value,
        }
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Content>>()? {
            list.push(item.into());
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Content>>()?;
            entries.push(Entry {
                line: line_of(&key.referenced),
                key: key.value,
                value: value.into(),
            });
        }
        Ok(Content::Map(entries))
    }
}
