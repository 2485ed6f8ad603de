//! `use`, `require` and `do` of Perl (perlfunc(1)).

use super::Import;
use super::token::{MAX_STATEMENT, Token};

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for driver in tokens
        .iter()
        .filter_map(Token::beginning)
        .filter_map(driver)
    {
        add(Import::Module(format!("DBD::{driver}")));
    }
    for (at, token) in tokens.iter().enumerate() {
        let Some(keyword @ ("use" | "require" | "do")) = token.word() else {
            continue;
        };
        let before = tokens[..at].last();
        // A hash key, a method or a variable of that name.
        if before.is_some_and(|token| {
            ['$', '@', '%', '&', '>', '-']
                .iter()
                .any(|mark| token.is(*mark))
        }) {
            continue;
        }
        let near = &tokens[at + 1..tokens.len().min(at + 1 + MAX_STATEMENT)];
        let end = near.iter().position(|token| token.is(';') || token.is('}'));
        let rest = &near[..end.unwrap_or(near.len())];
        let Some(first) = rest.iter().find(|token| **token != Token::Line) else {
            continue;
        };
        match (keyword, first) {
            ("use", Token::Word("lib")) => directories(rest, add),
            ("use", Token::Word("parent" | "base" | "fields")) => {
                add(Import::Module(first.word().unwrap_or_default().to_owned()));
                if !rest.iter().any(|token| token.word() == Some("norequire")) {
                    names(rest, add);
                }
            }
            ("use", Token::Word("if")) => {
                let modules = rest
                    .iter()
                    .filter_map(Token::text)
                    .filter(|text| is_module(text));
                modules.for_each(|name| add(Import::Module(name.to_owned())));
                let bare = rest
                    .iter()
                    .skip(1)
                    .filter_map(Token::word)
                    .filter(|word| word.contains("::"));
                bare.for_each(|name| add(Import::Module(name.to_owned())));
            }
            ("use" | "require", Token::Word(name)) if is_module(name) => {
                add(Import::Module((*name).to_owned()));
            }
            ("require" | "do", Token::Text(text, false)) => add(Import::File((*text).to_owned())),
            ("require" | "do", Token::Text(text, true)) => {
                if let Some(path) = beside(text) {
                    add(Import::File(path));
                }
            }
            _ => {}
        }
    }
}

/// The driver in the name of a data source (DBI(3pm)): `dbi:SQLite:dbname=x`, `dbi:mysql(RaiseError=>1):x`.
fn driver(text: &str) -> Option<&str> {
    let scheme = text
        .get(..4)
        .filter(|scheme| scheme.eq_ignore_ascii_case("dbi:"))?;
    let (driver, _) = text[scheme.len()..].split_once([':', '('])?;
    is_module(driver).then_some(driver)
}

/// Whether it can be the name of a module; `5.010` and `v5.36` are versions.
fn is_module(name: &str) -> bool {
    let version = name.strip_prefix('v').unwrap_or(name);
    !name.is_empty()
        && !version.starts_with(|c: char| c.is_ascii_digit())
        && name.split("::").all(|part| {
            !part.is_empty() && part.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        })
}

fn names(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for text in tokens.iter().filter_map(Token::text) {
        for name in text.split_whitespace().filter(|name| is_module(name)) {
            add(Import::Module(name.to_owned()));
        }
    }
}

fn directories(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    let located = tokens
        .iter()
        .any(|token| matches!(token.word(), Some("dirname" | "__FILE__" | "FindBin::Bin")));
    for token in tokens {
        match token {
            Token::Text(text, true) => {
                if let Some(path) = beside(text) {
                    add(Import::Directory(path));
                }
            }
            Token::Text(text, false) => {
                for directory in text.split_whitespace() {
                    let own = located || !directory.starts_with('/');
                    let path = if own {
                        format!("./{}", directory.trim_start_matches('/'))
                    } else {
                        directory.to_owned()
                    };
                    add(Import::Directory(path));
                }
            }
            _ => {}
        }
    }
}

/// `$FindBin::Bin/../lib` and the like: a path beside the script.
fn beside(text: &str) -> Option<String> {
    let rest = [
        "$FindBin::Bin",
        "${FindBin::Bin}",
        "$FindBin::RealBin",
        "$Bin",
        "$RealBin",
        "${Bin}",
    ]
    .iter()
    .find_map(|variable| text.strip_prefix(variable))?;
    (!rest.contains(['$', '@']) && (rest.is_empty() || rest.starts_with('/')))
        .then(|| format!(".{rest}"))
}
