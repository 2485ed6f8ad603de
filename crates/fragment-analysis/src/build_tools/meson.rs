//! `meson.build`: calls with strings among their arguments (mesonbuild.com, "Syntax"). Nothing is evaluated.

use super::asked::{Asked, add};

/// Deepest nest of brackets.
const MAX_DEPTH: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    Text(&'t str),
    Sign(char),
}

/// A call whose bracket is open, and how many strings it had; brackets of lists and groups belong to the call around them.
#[derive(Debug, Clone, Copy, Default)]
struct Call<'t> {
    name: &'t str,
    /// The keyword whose value is read, empty for an argument without one.
    keyword: &'t str,
    strings: usize,
    /// Strings of that keyword.
    of_keyword: usize,
}

/// What a text asks for.
pub(super) fn read(text: &str) -> Asked {
    let mut asked = Asked::default();
    let mut calls: Vec<Option<Call<'_>>> = Vec::new();
    let mut before = Token::Sign(' ');
    for token in tokens(text) {
        match token {
            Token::Sign('(' | '[' | '{') if calls.len() >= MAX_DEPTH => break,
            Token::Sign('(') => calls.push(match before {
                Token::Name(name) => Some(Call {
                    name,
                    ..Call::default()
                }),
                _ => None,
            }),
            Token::Sign('[' | '{') => calls.push(None),
            Token::Sign(')' | ']' | '}') => drop(calls.pop()),
            Token::Sign(sign) => {
                // a comma inside of a list ends no argument of the call
                if let Some(Some(call)) = calls.last_mut() {
                    match (sign, before) {
                        (':', Token::Name(name)) => (call.keyword, call.of_keyword) = (name, 0),
                        (',', _) => call.keyword = "",
                        _ => {}
                    }
                }
            }
            Token::Text(text) => {
                asked.source(text);
                if let Some(call) = calls.iter_mut().rev().flatten().next() {
                    string(*call, text, &mut asked);
                    call.of_keyword += 1;
                    call.strings += usize::from(call.keyword.is_empty());
                }
            }
            Token::Name(_) => {}
        }
        before = token;
    }
    asked
}

/// A string among the arguments of a call.
fn string(call: Call<'_>, text: &str, asked: &mut Asked) {
    let why = |name: &str| format!("{name}: {text}");
    match (call.name, call.keyword, call.strings) {
        ("project", "", 1..) | ("add_languages", "", _) => {
            asked.language(text, &why(call.name));
        }
        ("dependency", "", _) => {
            if text == "threads" {
                return;
            }
            asked.command("pkg-config", &why("dependency"));
            add(&mut asked.modules, text);
        }
        ("find_program" | "run_command", "", 0) => asked.command(text, &why(call.name)),
        ("custom_target" | "run_target" | "generator", "command", _) if call.of_keyword == 0 => {
            asked.command(text, &why("command"));
        }
        ("subdir", "", _) => add(&mut asked.directories, text),
        ("include_directories", "", _) | (_, "include_directories", _) => {
            add(&mut asked.includes, text);
        }
        ("find_library", "", 0) => add(&mut asked.libraries, text),
        ("import", "", 0) if text == "i18n" => asked.command("msgfmt", &why("import")),
        _ => {}
    }
}

fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let c = rest.chars().next()?;
            if c == '#' {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            } else if c.is_whitespace() {
                rest = &rest[c.len_utf8()..];
            } else {
                break;
            }
        }
        for quote in ["'''", "'"] {
            if let Some(inner) = rest.strip_prefix(quote) {
                let end = inner.find(quote).unwrap_or(inner.len());
                rest = inner[end..].strip_prefix(quote).unwrap_or_default();
                return Some(Token::Text(&inner[..end]));
            }
        }
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let end = end.max(rest.chars().next()?.len_utf8());
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(match token.chars().next()? {
            c if is_name(c) => Token::Name(token),
            c => Token::Sign(c),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_name_languages_programs_and_sources() {
        let text = "# project('x', 'rust')\nproject('h', ['c', 'cpp'], version : '1.d', default_options: ['b=c'])\n\
            add_languages('fortran', required: false)\ndeps = [dependency('glib-2.0', version: '>=2'), dependency('threads')]\n\
            p = find_program('python3', 'python')\ncc.find_library('m')\nsubdir('src')\n\
            executable('h', 'h.c', files('x.cc'), include_directories: include_directories('inc'))\n\
            custom_target('y', output: 'y.h', command: ['bison', '-o', '@OUTPUT@'])\nmessage('''it's''')\n";
        let asked = read(text);
        let commands: Vec<&str> = asked.commands.keys().map(String::as_str).collect();
        assert_eq!(
            commands,
            ["bison", "c++", "cc", "gfortran", "pkg-config", "python3"]
        );
        assert_eq!(Vec::from_iter(&asked.modules), ["glib-2.0"]);
        assert_eq!(Vec::from_iter(&asked.libraries), ["m"]);
        assert_eq!(Vec::from_iter(&asked.directories), ["src"]);
        assert_eq!(Vec::from_iter(&asked.includes), ["inc"]);
        assert_eq!(Vec::from_iter(&asked.sources), ["h.c", "x.cc", "y.h"]);
    }

    #[test]
    fn what_is_open_or_wrong_ends() {
        for text in [
            "project('h",
            "project(",
            ")))",
            "'''",
            "é('é'",
            &"(".repeat(9999),
        ] {
            let _ = read(text);
        }
        assert!(read("project('c')").commands.is_empty());
    }
}
