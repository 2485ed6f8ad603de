//! Texts of each language, and what they load and run.

use proptest::prelude::*;

use super::*;

fn shown(language: Language, text: &str) -> Vec<String> {
    let show = |import: Import| match import {
        Import::Module(name) => name,
        Import::File(path) => format!("file {path}"),
        Import::Directory(path) => format!("in {path}"),
        Import::Package(name) => format!("package {name}"),
        Import::Function(name) => format!("{name}()"),
        Import::Command(text) => format!("run {text}"),
    };
    read(language, text).into_iter().map(show).collect()
}

fn check(language: Language, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(shown(language, text), *expected, "{language:?} {text:?}");
    }
}

#[test]
fn perl() {
    check(
        Language::Perl,
        &[
            (
                "use strict; use 5.010; use v5.36;\nuse Getopt::Long qw(:config x);",
                &["Getopt::Long", "strict"],
            ),
            (
                "use parent -norequire, 'A';\nuse base qw(B::C D);",
                &["B::C", "D", "base", "parent"],
            ),
            (
                "require Foo::Bar; eval { require JSON::XS };",
                &["Foo::Bar", "JSON::XS"],
            ),
            (
                "use lib '/opt/lib'; use lib \"$FindBin::Bin/../lib\";",
                &["in ./../lib", "in /opt/lib"],
            ),
            (
                "require \"x.pl\"; do './y.pl';",
                &["file ./y.pl", "file x.pl"],
            ),
            (
                "# use No;\nmy $s = 'use No;';\n=pod\n\nuse No;\n\n=cut\nuse Yes;\n__END__\nuse No;",
                &["Yes"],
            ),
            ("$x->{use} = 1; $h{require}; @use = 1;", &[]),
            (
                "my $x = \"it's\"; use A; my $y = $#array; use B;",
                &["A", "B"],
            ),
            ("use if $] < 5.1, 'Old::Thing';", &["Old::Thing"]),
            (
                "use DBI; DBI->connect(\"dbi:Pg:dbname=$name\", 'dbi:x y:', 'DBI:mysql(RaiseError=>1):db');",
                &["DBD::Pg", "DBD::mysql", "DBI"],
            ),
            (
                "system('git', 'status'); my $o = `ls -l`; exec \"jq .\";",
                &["run git", "run jq .", "run ls -l"],
            ),
        ],
    );
}

#[test]
fn ruby() {
    check(
        Language::Ruby,
        &[
            (
                "require 'json'\nrequire(\"net/http\")\nrequire_relative 'lib/x'",
                &["json", "net/http", "file ./lib/x"],
            ),
            (
                "gem 'rails', '~> 7'\nautoload :Y, 'y/z'",
                &["y/z", "package rails"],
            ),
            (
                "$:.unshift File.expand_path('../lib', __FILE__)",
                &["in ./lib"],
            ),
            (
                "$LOAD_PATH << File.join(__dir__, '/vendor')",
                &["in ./vendor"],
            ),
            (
                "=begin\nrequire 'no'\n=end\n# require 'no'\nx = \"require 'no'\"\nfoo.require 'no'",
                &[],
            ),
            (
                "system('git status'); Open3.capture3('jq', x); `ls`",
                &["run git status", "run jq", "run ls"],
            ),
            ("require \"a#{b}\"", &[]),
        ],
    );
}

#[test]
fn node() {
    check(
        Language::Node,
        &[
            (
                "const a = require('a'), b = require(\"./b\");",
                &["a", "file ./b"],
            ),
            (
                "import x, {y} from '@s/p/q';\nimport 'z';\nexport * from \"w\";",
                &["@s/p/q", "w", "z"],
            ),
            (
                "const m = await import('late'); require.resolve('r');",
                &["late", "r"],
            ),
            (
                "// require('no')\n/* require('no') */\nconst s = \"require('no')\";",
                &[],
            ),
            ("const s = 'it'\nconst q = require('q') // '", &["q"]),
            ("require(`t`); require(`${x}`); require(y);", &["t"]),
            (
                "cp.execSync('git log'); /x/.exec(y); spawn('jq', []);",
                &["run git log", "run jq"],
            ),
        ],
    );
    assert_eq!(node_package("@babel/core/lib/x"), "@babel/core");
    assert_eq!(node_package("express"), "express");
    assert_eq!(node_package("lodash/map"), "lodash");
    assert!(
        is_node_built_in("node:fs")
            && is_node_built_in("fs/promises")
            && !is_node_built_in("fs-extra")
    );
}

#[test]
fn php() {
    check(
        Language::Php,
        &[
            (
                "<?php require __DIR__ . '/vendor/autoload.php';",
                &["file ./vendor/autoload.php"],
            ),
            (
                "<?php include_once('Mail.php'); require dirname(__FILE__).'/x.php';",
                &["file ./x.php", "file Mail.php", "dirname()"],
            ),
            ("<?php include $x . '/no.php';", &[]),
            (
                "<?php $c = curl_init(); $d = new DOMDocument; $o->method();",
                &["curl_init()", "domdocument()"],
            ),
            (
                "<?php function mine() {} mine(); class P {} new P; Q::x();",
                &["q()"],
            ),
            ("<?php // curl_init()\n# x()\n/* y() */ echo 'z()';", &[]),
            (
                "<?php new PDO(\"pgsql:host=$h\"); new \\PDO('sqlite::memory:'); new PDO($dsn); PDO::x('y:z');",
                &["pdo_pgsql", "pdo_sqlite", "pdo()"],
            ),
            (
                "<?php shell_exec('git log');",
                &["shell_exec()", "run git log"],
            ),
        ],
    );
}

#[test]
fn lua_tcl_and_r() {
    check(
        Language::Lua,
        &[
            (
                "local s = require \"socket.http\"\nlocal j = require('cjson') -- require 'no'",
                &["cjson", "socket.http"],
            ),
            (
                "--[[ require 'no' ]] dofile('x.lua'); os.execute('git log'); obj:execute('no')",
                &["file x.lua", "run git log"],
            ),
        ],
    );
    check(
        Language::Tcl,
        &[
            (
                "package require Tcl 8.6\npackage require -exact http 2\n# package require no",
                &["Tcl", "http"],
            ),
            (
                "source [file join [file dirname [info script]] x.tcl]\nset y [exec git log]",
                &["file ./x.tcl", "run git"],
            ),
        ],
    );
    check(
        Language::R,
        &[
            (
                "library(ggplot2); require(\"dplyr\")\nif (requireNamespace('x')) utils::head(y)",
                &["dplyr", "ggplot2", "utils", "x"],
            ),
            ("# library(no)\nsource('lib.R')", &["file lib.R"]),
        ],
    );
}

#[test]
fn python() {
    check(
        Language::Python,
        &[
            (
                "import subprocess\nsubprocess.run(['git', 'log'])\napp.run('no')",
                &["subprocess", "run git"],
            ),
            (
                "import os.path\nos.system('ls | jq .')",
                &["os.path", "run ls | jq ."],
            ),
            (
                "from google.protobuf import message",
                &["google.protobuf", "google.protobuf.message"],
            ),
            (
                "from . import x\nfrom ..y import z",
                &["..y", "..y.z", ".x"],
            ),
        ],
    );
}

#[test]
fn c_includes() {
    let text = "#include <stdio.h>\n  # include <sys/types.h> // why\n#include \"own.h\"\n#include_next <limits.h>\n\
        #include MACRO\n#define X <not.h>\nint include; /* <no.h> */\n#include <unfinished\n";
    let expected = [
        Import::Module("limits.h".to_owned()),
        Import::Module("stdio.h".to_owned()),
        Import::Module("sys/types.h".to_owned()),
        Import::File("own.h".to_owned()),
    ];
    assert_eq!(read(Language::C, text), expected.into());
}

#[test]
fn long_texts_are_bounded() {
    for language in Language::WITH_IMPORTS {
        for piece in [
            "use A::B; ",
            "require 'x'\n",
            "q(",
            "'",
            "\"\"\"",
            "/*",
            "--[[",
            "=pod\n",
            "a::",
            "import x;",
            "x(",
            "\\",
        ] {
            let text = piece.repeat(200_000 / piece.len());
            assert!(
                read(language, &text).len() <= MAX_IMPORTS,
                "{language:?} {piece:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(
        text in any::<String>(),
        like in "[useqwrimpotlib '\"`\\\\#(){}\\[\\]$@=:;./*\n-]{0,200}",
    ) {
        for language in Language::WITH_IMPORTS {
            prop_assert!(read(language, &text).len() <= MAX_IMPORTS);
            prop_assert!(read(language, &like).len() <= MAX_IMPORTS);
        }
    }
}
