//! `include` and `require` of PHP, and the functions and classes that extensions define.

use std::collections::BTreeSet;

use super::Import;
use super::token::Token;

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    let own: BTreeSet<&str> = tokens
        .windows(2)
        .filter(|pair| {
            matches!(
                pair[0].word(),
                Some("class" | "function" | "interface" | "trait")
            )
        })
        .filter_map(|pair| pair[1].word())
        .collect();
    for (at, token) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        if word.trim_start_matches('\\') == "PDO" {
            data_source(&tokens[at + 1..], add);
        }
        if matches!(
            word,
            "include" | "include_once" | "require" | "require_once"
        ) {
            included(&tokens[at + 1..], add);
            continue;
        }
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        let follows = |mark: char| tokens.get(at + 1).is_some_and(|token| token.is(mark));
        let is_method = before.is_some_and(|token| token.is('>') || token.is(':') || token.is('$'));
        let names_class = matches!(
            before.and_then(Token::word),
            Some("extends" | "implements" | "instanceof" | "new")
        );
        let (class, is_static) = word
            .split_once("::")
            .map_or((word, false), |(class, _)| (class, true));
        let name = class.trim_start_matches('\\');
        let global = !name.is_empty() && !name.contains('\\') && !own.contains(name);
        if global && !is_method && (names_class || is_static || follows('(')) {
            add(Import::Function(name.to_ascii_lowercase()));
        }
    }
}

/// The extension for the driver of `new PDO("DRIVER:…`.
fn data_source(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    if let [open, first, ..] = tokens
        && open.is('(')
        && let Some((driver, _)) = first.beginning().and_then(|text| text.split_once(':'))
        && !driver.is_empty()
        && driver.chars().all(|c| c.is_ascii_alphanumeric())
    {
        add(Import::Module(format!(
            "pdo_{}",
            driver.to_ascii_lowercase()
        )));
    }
}

/// The path of an `include`, put together from literal parts and the directory of the file.
fn included(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    let mut path = String::new();
    for token in tokens.iter().take(16) {
        match token {
            Token::Mark(';') => break,
            Token::Text(text, false) => path.push_str(text),
            Token::Word("__DIR__") => path.push('.'),
            Token::Word("__FILE__") => path.push('.'),
            Token::Word("dirname") | Token::Mark('(' | ')' | '.') | Token::Line => {}
            // Something that is only known when it runs.
            _ => return,
        }
    }
    add(Import::File(path));
}
