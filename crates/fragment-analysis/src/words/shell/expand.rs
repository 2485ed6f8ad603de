//! From words as they stand to words as a program gets them, as far as that is known without running anything.

use std::cell::Cell;

use super::grammar::{Draft, Reading};
use super::template::{Part, Template};
use super::{Command, MAX_COMMANDS};
use crate::words::Word;

/// Most readings of one word: a `case` that gives a variable the command for each kind of file has about eight.
const MAX_READINGS: usize = 16;
/// Deepest nest of variables in the values of variables.
const MAX_DEPTH: usize = 4;
/// Longest word that is put together.
const MAX_WORD: usize = 4096;
/// Work that every text may take, and that each of its bytes may take in addition: variables that hold variables multiply.
const WORK: usize = 16 << 10;
const WORK_PER_BYTE: usize = 16;

/// A word with its expansions, one way.
#[derive(Debug, Clone, Default)]
struct Read {
    text: String,
    literal: bool,
}

/// The commands of a text that has been read; those that are in words of others (`eval`, `trap`, `alias`) are read now.
pub(super) fn commands(reading: &mut Reading, len: usize, source: &str) -> Vec<Command> {
    let mut out = Vec::new();
    let (mut at, work) = (0, Cell::new(WORK + WORK_PER_BYTE * len));
    while at < reading.commands.len() {
        let draft = std::mem::take(&mut reading.commands[at]);
        at += 1;
        for words in readings(&draft, reading, source, &work) {
            if out.len() < MAX_COMMANDS && !is_read_again(&words, reading) {
                let input = draft.input.clone();
                out.push(Command { words, input });
            }
        }
    }
    out.retain(|command| !reading.names.contains(&command.words[0].text));
    out
}

/// Reads the text that a builtin is given; whether there was one and the command says nothing more.
fn is_read_again(words: &[Word], reading: &mut Reading) -> bool {
    let arguments = &words[1..];
    match words[0].text.as_str() {
        "eval" => {
            if arguments.iter().all(|word| word.literal) {
                let text: Vec<_> = arguments.iter().map(|word| word.text.as_str()).collect();
                reading.nested_text(&text.join(" "));
            }
            true
        }
        "trap" => {
            if let Some(action) = arguments.iter().find(|word| word.text != "--")
                && action.literal
                && !matches!(action.text.as_str(), "" | "-" | "-l" | "-p")
                && arguments.len() > 1
            {
                reading.nested_text(&action.text);
            }
            false
        }
        "alias" => {
            for word in arguments.iter().filter(|word| word.literal) {
                if let Some((name, text)) = word.text.split_once('=') {
                    reading.nested_text(text);
                    // `alias ls='ls --color'` is no name for something else.
                    if text.split_whitespace().next() != Some(name) {
                        reading.names.insert(name.to_owned());
                    }
                }
            }
            false
        }
        _ => false,
    }
}

/// The ways to read a command whose name is known.
fn readings(draft: &Draft, reading: &Reading, source: &str, work: &Cell<usize>) -> Vec<Vec<Word>> {
    let expander = Expander {
        reading,
        source,
        work,
    };
    let Some(first) = draft.words.first() else {
        return Vec::new();
    };
    let word = |read: Read| Word {
        text: read.text,
        literal: read.literal,
        source: source.to_owned(),
    };
    let mut arguments = Vec::new();
    for template in &draft.words[1..] {
        arguments.extend(expander.argument(template).into_iter().map(word));
    }
    let mut out: Vec<Vec<Word>> = Vec::new();
    for name in expander.readings(first, MAX_DEPTH) {
        if !name.literal {
            continue;
        }
        let mut words: Vec<Word> = if is_split(first) {
            let pieces = name.text.split_whitespace();
            pieces
                .map(|text| {
                    word(Read {
                        text: text.to_owned(),
                        literal: name.literal,
                    })
                })
                .collect()
        } else {
            vec![word(name)]
        };
        // `$SUDO command`: an empty variable leaves the rest.
        words.extend(arguments.iter().cloned());
        if words
            .first()
            .is_some_and(|word| word.literal && !word.text.is_empty())
            && !out.contains(&words)
        {
            out.push(words);
        }
    }
    out
}

/// Whether it is a variable that is split at blanks and vanishes where it is empty.
fn is_split(template: &Template) -> bool {
    matches!(
        template.parts.as_slice(),
        [Part::Variable { quoted: false, .. }]
    )
}

struct Expander<'r> {
    reading: &'r Reading,
    source: &'r str,
    work: &'r Cell<usize>,
}

impl Expander<'_> {
    /// The words that an argument becomes.
    fn argument(&self, template: &Template) -> Vec<Read> {
        let mut readings = self.readings(template, MAX_DEPTH);
        match (readings.len(), readings.pop()) {
            (1, Some(read)) if read.literal && is_split(template) => {
                let pieces = read.text.split_whitespace();
                pieces
                    .map(|text| Read {
                        text: text.to_owned(),
                        literal: true,
                    })
                    .collect()
            }
            (1, Some(read)) => vec![read],
            _ => vec![self.unknown(template)],
        }
    }

    /// What is literal in it.
    fn unknown(&self, template: &Template) -> Read {
        let text = template.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            _ => "",
        });
        Read {
            text: text.collect(),
            literal: false,
        }
    }

    /// The ways to read a word: one for each value that a variable in it is known to have.
    fn readings(&self, template: &Template, depth: usize) -> Vec<Read> {
        let mut out = vec![Read {
            text: String::new(),
            literal: true,
        }];
        for part in &template.parts {
            let pieces = self.part(part, depth);
            let mut next = Vec::new();
            for before in &out {
                for piece in &pieces {
                    let len = before.text.len() + piece.text.len();
                    let left = self.work.get().checked_sub(piece.text.len());
                    if next.len() < MAX_READINGS && len <= MAX_WORD && left.is_some() {
                        self.work.set(left.unwrap_or_default());
                        next.push(Read {
                            text: format!("{}{}", before.text, piece.text),
                            literal: before.literal && piece.literal,
                        });
                    }
                }
            }
            if next.is_empty() {
                return vec![Read::default()];
            }
            out = next;
        }
        out
    }

    fn part(&self, part: &Part, depth: usize) -> Vec<Read> {
        let cost = 64
            + if let Part::Text(text) = part {
                text.len()
            } else {
                0
            };
        let Some(left) = self.work.get().checked_sub(cost) else {
            return vec![Read::default()];
        };
        self.work.set(left);
        let known = |text: String| {
            vec![Read {
                text,
                literal: true,
            }]
        };
        let directory = || match self.source.rsplit_once('/') {
            Some((directory, _)) if self.source.starts_with('/') => Some(directory),
            _ => None,
        };
        match part {
            Part::Text(text) => known(text.clone()),
            Part::Script if directory().is_some() => known(self.source.to_owned()),
            Part::ScriptDirectory(suffix) => match directory() {
                Some("") if suffix.is_empty() => known("/.".to_owned()),
                Some(directory) => known(format!("{directory}{suffix}")),
                None => vec![Read::default()],
            },
            Part::Variable { name, default, .. } if depth > 0 => {
                let assigned = self.reading.values.get(name).into_iter().flatten();
                let mut out: Vec<Read> = Vec::new();
                for value in assigned.chain(default) {
                    for read in self.readings(value, depth - 1) {
                        if out.len() < MAX_READINGS
                            && !out.iter().any(|other| other.text == read.text)
                        {
                            out.push(read);
                        }
                    }
                }
                // Values that are only known when it runs say nothing about those that are.
                if out.iter().any(|read| read.literal) {
                    out.retain(|read| read.literal);
                }
                if out.is_empty() {
                    out.push(Read::default());
                }
                out
            }
            _ => vec![Read::default()],
        }
    }
}
