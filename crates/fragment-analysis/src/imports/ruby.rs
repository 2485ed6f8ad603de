//! `require`, `load`, `autoload` and `gem` of Ruby (Kernel).

use super::Import;
use super::token::{MAX_STATEMENT, Token};

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for (at, token) in tokens.iter().enumerate() {
        let near = &tokens[at..tokens.len().min(at + MAX_STATEMENT)];
        let line = || {
            near.split(|token| *token == Token::Line)
                .next()
                .unwrap_or_default()
        };
        if token.is('$') {
            let path = tokens.get(at + 1);
            let is_path =
                path.is_some_and(|token| token.is(':') || token.word() == Some("LOAD_PATH"));
            if is_path
                && line()
                    .iter()
                    .any(|token| matches!(token.word(), Some("unshift" | "push")) || token.is('<'))
            {
                directories(line(), add);
            }
            continue;
        }
        let Some(word) = token.word() else { continue };
        if at > 0 && tokens[at - 1].is('.') {
            continue;
        }
        let mut arguments = tokens[at + 1..].iter().skip_while(|token| token.is('('));
        let first = arguments.next();
        let text = first.and_then(Token::text);
        match (word, text) {
            ("require", Some(name)) => add(match name.starts_with(['.', '/']) {
                true => Import::File(name.to_owned()),
                false => Import::Module(name.to_owned()),
            }),
            ("require_relative", Some(name)) => add(Import::File(format!("./{name}"))),
            ("load", Some(name)) => add(Import::File(name.to_owned())),
            ("gem", Some(name)) => add(Import::Package(name.to_owned())),
            // autoload :Name, 'file'
            ("autoload", None) if first.is_some_and(|token| token.is(':')) => {
                if let Some(name) = line().iter().find_map(Token::text) {
                    add(Import::Module(name.to_owned()));
                }
            }
            _ => {}
        }
    }
}

/// `$:.unshift File.expand_path('../lib', __dir__)`; beside `__FILE__` a path is one step too deep.
fn directories(line: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    let has = |word: &str| line.iter().any(|token| token.word() == Some(word));
    let by_file = has("__FILE__") && !has("dirname");
    let located = by_file || has("dirname") || has("__dir__");
    for text in line.iter().filter_map(Token::text) {
        let text = match by_file {
            true => text.strip_prefix("../").unwrap_or(text),
            false => text,
        };
        add(Import::Directory(match text.starts_with('/') && !located {
            true => text.to_owned(),
            false => format!("./{}", text.trim_start_matches('/')),
        }));
    }
}
