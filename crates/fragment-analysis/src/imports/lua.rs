//! `require` and `dofile` of Lua.

use super::Import;
use super::token::Token;

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for (at, token) in tokens.iter().enumerate() {
        let Some(word @ ("require" | "dofile" | "loadfile")) = token.word() else {
            continue;
        };
        let argument = tokens[at + 1..].iter().find(|token| !token.is('('));
        if let Some(name) = argument.and_then(Token::text) {
            add(match word {
                "require" => Import::Module(name.to_owned()),
                _ => Import::File(name.to_owned()),
            });
        }
    }
}
