//! `configure.ac` and `Makefile.am`: macros of Autoconf, Automake and Libtool, variables of Automake.

use super::asked::{Asked, add};

/// Most macros that are read of one text.
const MAX_MACROS: usize = 512;
/// Longest list of arguments that is read.
const MAX_ARGUMENTS: usize = 4096;

/// Macros, with the commands they are for: those that make the configure script, and those that it looks for.
const MACROS: &[(&str, &[&str])] = &[
    ("AC_CONFIG_HEADER", &["autoheader"]),
    ("AC_CONFIG_HEADERS", &["autoheader"]),
    ("AC_PROG_AWK", &["awk"]),
    ("AC_PROG_CC", &["cc"]),
    ("AC_PROG_CC_C99", &["cc"]),
    ("AC_PROG_CPP", &["cc"]),
    ("AC_PROG_CXX", &["c++"]),
    ("AC_PROG_F77", &["gfortran"]),
    ("AC_PROG_FC", &["gfortran"]),
    ("AC_PROG_LEX", &["flex"]),
    ("AC_PROG_LIBTOOL", &["libtoolize", "cc"]),
    ("AC_PROG_OBJC", &["cc"]),
    ("AC_PROG_RANLIB", &["ranlib"]),
    ("AC_PROG_YACC", &["bison"]),
    ("AM_CONFIG_HEADER", &["autoheader"]),
    ("AM_GNU_GETTEXT", &["autopoint", "msgfmt"]),
    ("AM_INIT_AUTOMAKE", &["automake"]),
    ("AM_PATH_PYTHON", &["python3"]),
    ("AM_PROG_AR", &["ar"]),
    ("AM_PROG_LEX", &["flex"]),
    ("AM_PROG_LIBTOOL", &["libtoolize", "cc"]),
    ("AM_PROG_VALAC", &["valac"]),
    ("LT_INIT", &["libtoolize", "cc"]),
    ("PKG_CHECK_EXISTS", &["pkg-config"]),
    ("PKG_CHECK_MODULES", &["pkg-config"]),
    ("PKG_PROG_PKG_CONFIG", &["pkg-config"]),
];
/// Substitutions in a `Makefile.in`, with the commands that configure puts there.
const SUBSTITUTIONS: &[(&str, &str)] = &[
    ("@CC@", "cc"),
    ("@CXX@", "c++"),
    ("@F77@", "gfortran"),
    ("@FC@", "gfortran"),
    ("@LEX@", "flex"),
    ("@YACC@", "bison"),
];

/// What a `configure.ac` asks for.
pub(super) fn configure(text: &str) -> Asked {
    let mut asked = Asked::default();
    let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let (mut macros, mut at) = (0, 0);
    while macros < MAX_MACROS
        && let Some(start) = text[at..].find(|c: char| is_name(c) || c == '#')
    {
        let start = at + start;
        let len = text[start..]
            .find(|c| !is_name(c))
            .unwrap_or(text.len() - start);
        let name = &text[start..start + len];
        at = start + len;
        if len == 0 || name == "dnl" {
            // a comment
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let prefix = name.split_once('_').map(|(prefix, _)| prefix);
        if !matches!(prefix, Some("AC" | "AM" | "AX" | "LT" | "PKG")) {
            continue;
        }
        macros += 1;
        for (_, commands) in MACROS.iter().filter(|(own, _)| *own == name) {
            for command in *commands {
                asked.command(command, name);
            }
        }
        if prefix == Some("AX") {
            add(&mut asked.macros, &name.to_ascii_lowercase());
        }
        with_arguments(name, &text[at..], &mut asked);
    }
    asked
}

/// Macros whose arguments name something.
fn with_arguments(name: &str, rest: &str, asked: &mut Asked) {
    let argument = |at: usize| arguments(rest).into_iter().nth(at).unwrap_or_default();
    match name {
        "PKG_CHECK_MODULES" => {
            for module in crate::pkg_config::modules(argument(1)) {
                add(&mut asked.modules, &module);
            }
        }
        "PKG_CHECK_EXISTS" => {
            for module in crate::pkg_config::modules(argument(0)) {
                add(&mut asked.modules, &module);
            }
        }
        "AC_CHECK_LIB" => add(&mut asked.libraries, argument(0)),
        "AC_SEARCH_LIBS" => {
            for library in argument(1).split_whitespace() {
                add(&mut asked.libraries, library);
            }
        }
        "AC_CHECK_PROG" | "AC_PATH_PROG" | "AC_CHECK_PROGS" | "AC_PATH_PROGS" => {
            let program = argument(1).split_whitespace().next().unwrap_or_default();
            asked.command(program, name);
        }
        "AC_CONFIG_SUBDIRS" => {
            for directory in argument(0).split_whitespace() {
                add(&mut asked.directories, directory);
            }
        }
        "AC_LANG" if argument(0) == "C++" => asked.command("c++", name),
        _ => {}
    }
}

/// The arguments in brackets at the start, quotes taken away.
fn arguments(text: &str) -> Vec<&str> {
    let Some(inner) = text.strip_prefix('(') else {
        return Vec::new();
    };
    let (mut out, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in inner.char_indices().take(MAX_ARGUMENTS) {
        match c {
            '(' | '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ')' if depth > 0 => depth -= 1,
            ',' | ')' if depth == 0 => {
                let argument = inner[start..at].trim();
                out.push(argument.trim_start_matches('[').trim_end_matches(']'));
                start = at + 1;
                if c == ')' {
                    break;
                }
            }
            _ => {}
        }
    }
    out
}

/// What a `Makefile.am` asks for: sources, libraries, directories.
pub(super) fn automake(text: &str) -> Asked {
    let mut asked = Asked::default();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.starts_with('\t')) {
        let line = line.split('#').next().unwrap_or_default();
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim().trim_end_matches('+').trim_end();
        for word in value.split_whitespace() {
            let word = word.trim_start_matches("$(srcdir)/");
            if let Some(directory) = word.strip_prefix("-I") {
                add(
                    &mut asked.includes,
                    directory.trim_start_matches("$(srcdir)/"),
                );
            } else if let Some(library) = word.strip_prefix("-l") {
                add(&mut asked.libraries, library);
            } else if name == "SUBDIRS" && word != "." {
                add(&mut asked.directories, word);
            } else {
                asked.source(word);
            }
        }
    }
    asked
}

/// What a `Makefile.in` asks for, which configure makes a `Makefile` of.
pub(super) fn template(text: &str) -> Asked {
    let mut asked = automake(text);
    for (substitution, command) in SUBSTITUTIONS {
        if text.contains(substitution) {
            asked.command(command, substitution);
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_name_commands() {
        let text = "AC_INIT([h],[1])\nAM_INIT_AUTOMAKE([foreign])\ndnl AC_PROG_CXX\n# AC_PROG_F77\nAC_PROG_CC\nLT_INIT([a, (b)])\n\
            AC_CONFIG_HEADERS([config.h])\nPKG_CHECK_MODULES([GLIB], [glib-2.0 >= 2.4\n zlib])\nAC_CHECK_LIB([m], [cos])\n\
            AC_SEARCH_LIBS(dlopen, dl c)\nAC_PATH_PROG([PERL], [perl])\nAX_PTHREAD\nAC_CONFIG_SUBDIRS([sub])\nAC_OUTPUT\n";
        let asked = configure(text);
        let commands: Vec<&str> = asked.commands.keys().map(String::as_str).collect();
        assert_eq!(
            commands,
            [
                "autoheader",
                "automake",
                "cc",
                "libtoolize",
                "perl",
                "pkg-config"
            ]
        );
        assert_eq!(Vec::from_iter(&asked.modules), ["glib-2.0", "zlib"]);
        assert_eq!(Vec::from_iter(&asked.libraries), ["c", "dl", "m"]);
        assert_eq!(Vec::from_iter(&asked.macros), ["ax_pthread"]);
        assert_eq!(Vec::from_iter(&asked.directories), ["sub"]);
    }

    #[test]
    fn variables_name_sources() {
        let text = "SUBDIRS = . lib \\\n src\nbin_PROGRAMS = h\nh_SOURCES = h.c $(srcdir)/i.cc # j.c\nh_LDADD = -lm\nAM_CPPFLAGS = -I$(srcdir)/inc\nall-local:\n\techo x.c=y\n";
        let asked = automake(text);
        assert_eq!(Vec::from_iter(&asked.sources), ["h.c", "i.cc"]);
        assert_eq!(Vec::from_iter(&asked.libraries), ["m"]);
        assert_eq!(Vec::from_iter(&asked.directories), ["lib", "src"]);
        assert_eq!(Vec::from_iter(&asked.includes), ["inc"]);
        let commands = template("CC = @CC@\n").commands;
        assert_eq!(commands.keys().next().map(String::as_str), Some("cc"));
    }

    #[test]
    fn what_is_open_or_wrong_ends() {
        for text in [
            "AC_CHECK_LIB([",
            "AC_CHECK_LIB",
            "PKG_CHECK_MODULES(]])",
            "dnl",
            "é#",
            "AC_é(",
        ] {
            let _ = configure(text);
        }
    }
}
