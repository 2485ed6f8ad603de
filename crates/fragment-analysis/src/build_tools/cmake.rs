//! `CMakeLists.txt` and scripts of CMake: `COMMAND(ARGUMENT…)` (cmake-language(7)).

use std::collections::BTreeSet;

use super::asked::{Asked, add};

/// Most commands that are read of one text.
const MAX_COMMANDS: usize = 1024;
/// Most arguments of one command that are read.
const MAX_ARGUMENTS: usize = 256;
/// Variables for the directory of the text.
const HERE: &[&str] = &[
    "${CMAKE_CURRENT_LIST_DIR}/",
    "${CMAKE_CURRENT_SOURCE_DIR}/",
    "${CMAKE_SOURCE_DIR}/",
    "${PROJECT_SOURCE_DIR}/",
];
/// Keywords of `project` that a value follows.
const PROJECT_VALUES: &[&str] = &["COMPAT_VERSION", "DESCRIPTION", "HOMEPAGE_URL", "VERSION"];
/// Keywords of `target_link_libraries`.
const LINK_KEYWORDS: &[&str] = &[
    "INTERFACE",
    "LINK_INTERFACE_LIBRARIES",
    "LINK_PRIVATE",
    "LINK_PUBLIC",
    "PRIVATE",
    "PUBLIC",
    "debug",
    "general",
    "optimized",
];

/// What a text asks for. The first of a project names its languages: C and C++ where nothing is said (cmake-commands(7),
/// `project`).
pub(super) fn read(text: &str, is_project: bool) -> Asked {
    let mut asked = Asked::default();
    let mut has_project = false;
    for (name, arguments) in commands(text) {
        has_project |= name == "project";
        command(&name, &arguments, &mut asked);
    }
    if is_project && !has_project {
        asked.command("cc", "no project()");
        asked.command("c++", "no project()");
    }
    asked
}

fn command(name: &str, arguments: &[String], asked: &mut Asked) {
    let rest = arguments.get(1..).unwrap_or_default();
    for argument in arguments {
        let own = HERE.iter().find_map(|here| argument.strip_prefix(here));
        asked.source(own.unwrap_or(argument));
    }
    match name {
        "project" => project(rest, asked),
        "enable_language" => {
            for language in arguments {
                asked.language(language, &format!("enable_language({language})"));
            }
        }
        "add_subdirectory" => {
            if let Some(directory) = arguments.first() {
                add(&mut asked.directories, directory);
            }
        }
        "aux_source_directory" => asked.patterns = true,
        "include_directories" | "target_include_directories" => {
            for argument in arguments {
                let own = HERE.iter().find_map(|here| argument.strip_prefix(here));
                add(&mut asked.includes, own.unwrap_or(argument));
            }
        }
        "find_package" => {
            if let Some(package) = arguments.first() {
                add(&mut asked.packages, package);
            }
        }
        "pkg_check_modules" | "pkg_search_module" => {
            asked.command("pkg-config", name);
            for argument in rest {
                let module = argument.split(['<', '>', '=']).next().unwrap_or_default();
                if module.chars().any(|c| c.is_ascii_lowercase()) {
                    add(&mut asked.modules, module);
                }
            }
        }
        "find_program" => {
            let words = rest.iter().filter(|word| word.as_str() != "NAMES");
            if let Some(program) = words.clone().next() {
                asked.command(program, &format!("find_program({program})"));
            }
        }
        "target_link_libraries" | "link_libraries" => {
            let words = arguments.iter().skip(usize::from(name != "link_libraries"));
            for library in words.filter(|word| !LINK_KEYWORDS.contains(&word.as_str())) {
                let library = library.strip_prefix("-l").unwrap_or(library);
                add(&mut asked.libraries, library);
            }
        }
        "execute_process" | "add_custom_command" | "add_custom_target" => {
            let after = arguments.iter().zip(arguments.iter().skip(1));
            for (_, program) in after.filter(|(word, _)| *word == "COMMAND") {
                asked.command(program, &format!("COMMAND {program}"));
            }
        }
        _ => {}
    }
}

fn project(arguments: &[String], asked: &mut Asked) {
    let (mut named, mut rest) = (false, arguments.iter());
    while let Some(word) = rest.next() {
        if PROJECT_VALUES.contains(&word.as_str()) {
            rest.next();
        } else if word == "LANGUAGES" || word == "NONE" {
            named = true;
        } else {
            named |= asked.language(word, &format!("project: {word}"));
        }
    }
    if !named {
        asked.command("cc", "project: C");
        asked.command("c++", "project: CXX");
    }
}

/// Commands of a text with their arguments, names in lower case.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let (mut rest, mut depth, mut name) = (text, 0_usize, "");
    let mut open = BTreeSet::new();
    while let Some(c) = rest.chars().next() {
        let len = match c {
            '#' => comment(rest, &mut open),
            '(' => {
                if depth == 0 && out.len() < MAX_COMMANDS {
                    out.push((name.to_ascii_lowercase(), Vec::new()));
                }
                depth += 1;
                1
            }
            ')' => {
                depth = depth.saturating_sub(1);
                1
            }
            '"' => {
                let len = quoted(rest);
                let inner = &rest[1..len];
                let inner = inner.strip_suffix('"').unwrap_or(inner);
                argument(&mut out, depth, inner);
                len
            }
            c if c.is_whitespace() || c == ';' => c.len_utf8(),
            c => {
                let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '#' | ';');
                let len = rest[c.len_utf8()..].find(ends);
                let len = len.map_or(rest.len(), |len| len + c.len_utf8());
                if depth == 0 {
                    name = &rest[..len];
                } else {
                    argument(&mut out, depth, &rest[..len]);
                }
                len
            }
        };
        rest = &rest[len..];
        if out.len() >= MAX_COMMANDS {
            break;
        }
    }
    out
}

fn argument(out: &mut [(String, Vec<String>)], depth: usize, text: &str) {
    if let Some((_, arguments)) = out.last_mut()
        && depth > 0
        && arguments.len() < MAX_ARGUMENTS
    {
        arguments.push(text.to_owned());
    }
}

/// Length of the comment at the start: of a line, or in brackets. `open` are levels of brackets that nothing closes any more.
fn comment(text: &str, open: &mut BTreeSet<usize>) -> usize {
    let bracket = text[1..].strip_prefix('[').and_then(|rest| {
        let level = rest.find(|c| c != '=')?;
        if !rest[level..].starts_with('[') || open.contains(&level) {
            return None;
        }
        let close = format!("]{}]", "=".repeat(level));
        let found = text.find(&close).map(|at| at + close.len());
        if found.is_none() {
            open.insert(level);
        }
        found
    });
    bracket.unwrap_or_else(|| text.find('\n').unwrap_or(text.len()))
}

/// Length of the quoted argument at the start, its quotes included.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == '"' && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// What the cache of a configured build names: `KEY:TYPE=VALUE`. The programs by which it is built.
pub(super) fn cached(text: &str) -> Vec<String> {
    let programs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let (key, kind) = key.split_once(':')?;
        let compiler = key.starts_with("CMAKE_") && key.ends_with("_COMPILER");
        let named = matches!(kind, "FILEPATH" | "STRING") && value.starts_with('/');
        ((compiler || key == "CMAKE_MAKE_PROGRAM") && named).then(|| value.to_owned())
    });
    programs.take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &Asked) -> Vec<&str> {
        asked.commands.keys().map(String::as_str).collect()
    }

    #[test]
    fn projects_name_their_languages() {
        for (text, expected) in [
            ("project(h CXX)", &["c++"][..]),
            ("PROJECT ( h LANGUAGES C Fortran )", &["cc", "gfortran"]),
            ("project(h)", &["c++", "cc"]),
            ("project(h VERSION 1.0 DESCRIPTION \"C\")", &["c++", "cc"]),
            ("project(h NONE)", &[]),
            ("project(h LANGUAGES NONE)\nenable_language(C)", &["cc"]),
            ("add_executable(h h.c)", &["c++", "cc"]),
            (
                "# project(h NONE)\n#[[ project(h NONE) ]]project(h C)",
                &["cc"],
            ),
        ] {
            assert_eq!(names(&read(text, true)), expected, "{text}");
        }
        assert_eq!(names(&read("message(x)", false)), [""; 0]);
    }

    #[test]
    fn other_commands_name_the_rest() {
        let text = "project(h C)\nadd_subdirectory(sub)\nadd_executable(h\n  h.c # why.c\n  \"${CMAKE_CURRENT_SOURCE_DIR}/o o.c\" ${CMAKE_SOURCE_DIR}/p.c ${SRC}.c)\n\
            find_package(ZLIB REQUIRED)\npkg_check_modules(GLIB REQUIRED IMPORTED_TARGET glib-2.0>=2.4)\n\
            target_link_libraries(h PRIVATE m -lpthread ZLIB::ZLIB)\nfile(GLOB X src/*.c)\n\
            add_custom_command(OUTPUT y COMMAND bison -d y.y COMMAND ${TOOL})\nfind_program(S NAMES sphinx-build)\n\
            target_include_directories(h PRIVATE include)\nmessage(\"a \\\" b.c\")";
        let asked = read(text, true);
        let list = |names: &std::collections::BTreeSet<String>| {
            names.iter().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&asked), ["bison", "cc", "pkg-config", "sphinx-build"]);
        assert_eq!(list(&asked.sources), "h.c p.c");
        assert_eq!(list(&asked.modules), "glib-2.0");
        assert_eq!(list(&asked.packages), "ZLIB");
        assert_eq!(list(&asked.libraries), "ZLIB::ZLIB m pthread");
        assert_eq!(list(&asked.directories), "sub");
        assert!(asked.includes.contains("include") && asked.patterns);
    }

    #[test]
    fn what_is_open_or_wrong_ends() {
        for text in [
            "project(h C",
            "\"",
            "project(\"",
            "#[[",
            "#[==[ x",
            ")))(",
            "é(é \"é\\",
        ] {
            let _ = read(text, true);
        }
        let text = "CMAKE_MAKE_PROGRAM:FILEPATH=/usr/bin/make\nCMAKE_C_COMPILER:FILEPATH=/usr/bin/cc\nCMAKE_AR:FILEPATH=/usr/bin/ar\nX\n";
        assert_eq!(cached(text), ["/usr/bin/make", "/usr/bin/cc"]);
    }
}
