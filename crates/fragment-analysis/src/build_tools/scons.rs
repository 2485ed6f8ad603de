//! `SConstruct` and `SConscript`: texts of Python that call builders. Strings among them are sources, commands and other texts.

use super::asked::{Asked, add, maker_of};

/// Builders that compile.
const BUILDERS: &[&str] = &["Library(", "LoadableModule(", "Object(", "Program("];
/// Methods that run a command for flags.
const CONFIGURES: &str = "ParseConfig(";
/// Methods that read another text.
const SCRIPT: &str = "SConscript(";

/// What a text asks for.
pub(super) fn read(text: &str) -> Asked {
    let mut asked = Asked::default();
    let compiles = BUILDERS.iter().any(|name| text.contains(name));
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        for string in strings(line) {
            if line.contains(CONFIGURES) {
                asked.text.push_str(string);
                asked.text.push('\n');
            } else if line.contains(SCRIPT) {
                // a file of the directory below
                let place = string.rsplit_once('/').map_or("", |(place, _)| place);
                add(&mut asked.directories, place);
            } else if compiles && let Some(command) = maker_of(string) {
                asked.command(command, string);
                asked.source(string);
            }
        }
    }
    asked
}

/// What stands between quotes in a line.
fn strings(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let at = rest.find(['\'', '"'])?;
        let quote = if rest[at..].starts_with('"') {
            '"'
        } else {
            '\''
        };
        let inner = &rest[at + 1..];
        let end = inner.find(quote)?;
        rest = &inner[end + 1..];
        Some(&inner[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_builders_are_sources() {
        let text = "env = Environment()\n# Program('no.f')\nenv.ParseConfig('pkg-config --libs zlib')\n\
            env.Program('h', ['h.c', \"i.cc\"] + Glob('src/*.c'))\nSConscript('sub/SConscript')\n";
        let asked = read(text);
        let commands: Vec<&str> = asked.commands.keys().map(String::as_str).collect();
        assert_eq!(commands, ["cc", "g++"]);
        assert_eq!(asked.text, "pkg-config --libs zlib\n");
        assert_eq!(Vec::from_iter(&asked.sources), ["h.c", "i.cc"]);
        assert_eq!(Vec::from_iter(&asked.directories), ["sub"]);
        assert!(asked.patterns);
        assert!(
            read("Command('o', 'h.c', Copy('$TARGET', '$SOURCE'))")
                .commands
                .is_empty()
        );
        for text in ["'", "\"'", "Program('é", "Program('a.c"] {
            let _ = read(text);
        }
    }
}
