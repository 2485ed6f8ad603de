//! What texts of script languages import, include and run.
//!
//! A text is cut into tokens, so that comments, strings and code are told apart, and the few statements are looked for by
//! which each language loads modules and files and runs commands. Nothing is evaluated: what a program puts together when it
//! runs is not found, and a module that is only perhaps loaded counts.

use std::collections::BTreeSet;

use crate::python;
use crate::words::interpreter::Language;

mod c;
mod calls;
mod lua;
mod node;
mod perl;
mod php;
mod qml;
mod r;
mod ruby;
mod tcl;
mod token;

pub(crate) use qml::directories as qml_directories;

pub use node::{is_built_in as is_node_built_in, package as node_package};

/// Longest text that is read, in bytes; the rest is ignored.
pub const MAX_TEXT: usize = 64 << 10;
/// Most imports taken from one text.
pub const MAX_IMPORTS: usize = 256;

/// Something that a text loads or runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Import {
    /// A module, as the language spells it; of Python, with the dots in front of relative ones.
    Module(String),
    /// A file beside the text (`./lib/x.rb`), of the working directory, or with an absolute path.
    File(String),
    /// A directory that is searched for modules from now on, relative to the text's own.
    Directory(String),
    /// A package of the language's package manager (`gem 'x'`).
    Package(String),
    /// A function that the text does not define, as far as the name says what provides it (PHP).
    Function(String),
    /// A shell text or the name of a command that is run.
    Command(String),
}

/// What a text loads and runs, sorted.
#[must_use]
pub fn read(language: Language, text: &str) -> BTreeSet<Import> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    let mut out = BTreeSet::new();
    let tokens = match language {
        Language::Shell => return out,
        Language::C | Language::Qml | Language::Tcl => Vec::new(),
        _ => token::tokens(language, text),
    };
    let mut add = |import: Import| {
        let (Import::Module(name)
        | Import::File(name)
        | Import::Directory(name)
        | Import::Package(name)
        | Import::Function(name)
        | Import::Command(name)) = &import;
        let plain = !name.is_empty() && name.len() <= 1024 && !name.contains('\0');
        if plain && out.len() < MAX_IMPORTS {
            out.insert(import);
        }
    };
    match language {
        Language::Python => {
            for name in python::modules(text) {
                add(Import::Module(name));
            }
        }
        Language::Perl => perl::imports(&tokens, &mut add),
        Language::Ruby => ruby::imports(&tokens, &mut add),
        Language::Node => node::imports(&tokens, &mut add),
        Language::Php => php::imports(&tokens, &mut add),
        Language::Lua => lua::imports(&tokens, &mut add),
        Language::R => r::imports(&tokens, &mut add),
        Language::Tcl => tcl::imports(text, &mut add),
        Language::C => c::imports(text, &mut add),
        Language::Qml => qml::imports(text, &mut add),
        Language::Shell => {}
    }
    calls::imports(language, &tokens, &mut add);
    out
}

#[cfg(test)]
mod tests;
