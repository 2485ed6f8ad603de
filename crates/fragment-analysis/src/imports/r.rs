//! `library`, `require` and `PACKAGE::NAME` of R.

use super::Import;
use super::token::Token;

pub(super) fn imports(tokens: &[Token<'_>], add: &mut dyn FnMut(Import)) {
    for (at, token) in tokens.iter().enumerate() {
        let Some(word) = token.word() else { continue };
        if let Some((package, _)) = word.split_once("::") {
            add(Import::Module(package.to_owned()));
            continue;
        }
        if !tokens.get(at + 1).is_some_and(|token| token.is('(')) {
            continue;
        }
        let argument = tokens.get(at + 2);
        let text = argument.and_then(Token::text);
        match word {
            "library" | "require" => {
                if let Some(name) = text.or_else(|| argument.and_then(Token::word)) {
                    add(Import::Module(name.to_owned()));
                }
            }
            "requireNamespace" | "loadNamespace" => {
                text.into_iter()
                    .for_each(|name| add(Import::Module(name.to_owned())));
            }
            "source" => text
                .into_iter()
                .for_each(|name| add(Import::File(name.to_owned()))),
            _ => {}
        }
    }
}
