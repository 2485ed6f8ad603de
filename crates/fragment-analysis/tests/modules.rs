//! What scripts of an application load: followed in the bundle, needed from the library.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception is for test functions, not for what they call"
)]

mod support;

use support::{Rootfs, library, missing, soft, task};

#[test]
fn perl_modules_beside_the_script_are_followed() {
    let rootfs = Rootfs::new();
    rootfs
        .program(
            "/app/bin/run",
            "#!/usr/bin/perl\nuse FindBin;\nuse lib \"$FindBin::Bin/../lib\";\nuse App::Main;\nsystem('jq . x');\n",
        )
        .file("/app/lib/App/Main.pm", "package App::Main;\nuse JSON::XS;\nuse parent -norequire, 'No';\n1;\n", 0o644);
    assert_eq!(
        soft(&rootfs, &["/app/bin/run"], &library()),
        [
            "command `jq`",
            "perl module `FindBin`",
            "perl module `JSON::XS`",
            "perl module `parent`"
        ]
    );
    assert_eq!(
        soft(
            &Rootfs::new(),
            &["perl", "-MList::Util=sum", "-e", "use POSIX; print"],
            &library()
        ),
        ["perl module `List::Util`", "perl module `POSIX`"]
    );
}

#[test]
fn ruby_features_and_gems() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/app/run.rb", "#!/usr/bin/env ruby\nrequire 'bundler/setup'\nrequire_relative 'lib/a'\nrequire 'net/http'\n")
        .file("/app/lib/a.rb", "require 'json'\n", 0o644)
        .file("/app/Gemfile", "source 'x'\ngem 'nokogiri'\n", 0o644);
    assert_eq!(
        soft(&rootfs, &["/app/run.rb"], &library()),
        [
            "ruby module `bundler/setup`",
            "ruby module `json`",
            "ruby module `net/http`",
            "rubygem module `nokogiri`",
        ]
    );
}

#[test]
fn node_packages_of_the_app_are_followed() {
    let rootfs = Rootfs::new();
    rootfs
        .file("/app/server.js", "const http = require('http');\nrequire('express'); require('./lib/x'); require('local');\n", 0o644)
        .file("/app/lib/x.js", "import y from '@s/y/z';\n", 0o644)
        .file("/app/node_modules/local/package.json", "{\"main\": \"dist/m\"}", 0o644)
        .file("/app/node_modules/local/dist/m.js", "require('deep');", 0o644)
        .file("/app/package.json", "{\"dependencies\": {\"local\": \"1\", \"lodash\": \"4\"}}", 0o644);
    assert_eq!(
        soft(&rootfs, &["node", "/app/server.js"], &library()),
        [
            "node module `@s/y`",
            "node module `deep`",
            "node module `express`",
            "node module `lodash`"
        ]
    );
}

#[test]
fn php_extensions_are_known_by_their_functions() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/app/index.php",
            "<?php require __DIR__ . '/inc/db.php'; require 'Twig/autoload.php'; $c = curl_init(); strlen('x');",
            0o644,
        )
        .file("/app/inc/db.php", "<?php $d = new mysqli(); imagecreate(1, 1);", 0o644)
        .file("/app/composer.json", "{\"require\": {\"php\": \"8\", \"ext-Intl\": \"*\"}}", 0o644);
    let library = library()
        .component("php-curl")
        .module("php", "curl")
        .component("php-mysql")
        .module("php", "mysqli")
        .component("php-gd")
        .module("php", "gd")
        .module("php", "imagecreate()");
    assert_eq!(
        soft(&rootfs, &["php", "/app/index.php"], &library),
        [
            "php module `Twig/autoload.php`",
            "php module `curl`",
            "php module `imagecreate()`",
            "php module `intl`",
            "php module `mysqli`",
        ]
    );
}

#[test]
fn lua_tcl_and_r_modules() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/app/x.lua",
            "require('own.part'); local s = require 'socket.http'",
            0o644,
        )
        .file("/app/own/part.lua", "require 'cjson'", 0o644)
        .file(
            "/app/x.tcl",
            "package require http\nsource [file join [file dirname [info script]] y.tcl]\n",
            0o644,
        )
        .file("/app/y.tcl", "package require tdom\n", 0o644)
        .file("/app/x.R", "library(ggplot2)\n", 0o644);
    let mut lua = task(&["lua5.4", "x.lua"], &[]);
    lua.cwd = "/app".into();
    let analysis = rootfs.analyse_with(&lua, &library()).unwrap();
    assert_eq!(
        missing(&analysis)[1..],
        ["soft lua module `cjson`", "soft lua module `socket.http`"]
    );
    assert_eq!(
        soft(&rootfs, &["tclsh", "/app/x.tcl"], &library()),
        ["tcl module `http`", "tcl module `tdom`"]
    );
    assert_eq!(
        soft(&rootfs, &["Rscript", "/app/x.R"], &library()),
        ["r module `ggplot2`"]
    );
}

#[test]
fn python_packages_are_followed_through_relative_imports() {
    let rootfs = Rootfs::new();
    rootfs
        .file(
            "/app/main.py",
            "from pkg.sub import thing\nimport google.protobuf.message\n",
            0o644,
        )
        .file("/app/pkg/__init__.py", "from . import side\n", 0o644)
        .file("/app/pkg/side.py", "import yaml\n", 0o644)
        .file(
            "/app/pkg/sub.py",
            "from .deep.er import x\nimport subprocess\nsubprocess.run(['git', 'log'])\n",
            0o644,
        )
        .file("/app/pkg/deep/er.py", "import lxml.etree\n", 0o644);
    let library = library()
        .component("protobuf")
        .module("python3", "google.protobuf");
    assert_eq!(
        soft(&rootfs, &["python3", "/app/main.py"], &library),
        [
            "capability `process_execution`",
            "command `git`",
            "python3 module `google.protobuf`",
            "python3 module `lxml`",
            "python3 module `subprocess`",
            "python3 module `yaml`",
        ]
    );
}

#[test]
fn scripts_are_found_beside_the_script_and_in_here_documents() {
    let rootfs = Rootfs::new();
    rootfs
        .program("/app/run", "#!/bin/sh\nhere=$(dirname \"$0\")\n. \"$here/lib.sh\"\npython3 - <<EOF\nimport yaml\nEOF\n")
        .file("/app/lib.sh", "TOOL=jq\n$TOOL . x\n", 0o644);
    let found = soft(&rootfs, &["/app/run"], &library());
    assert_eq!(
        found,
        [
            "command `dirname`",
            "command `jq`",
            "command `python3`",
            "python3 module `yaml`"
        ]
    );
}

#[test]
fn what_applets_cannot_do_brings_the_command_of_the_distribution() {
    let library = library()
        .component("coreutils")
        .file("/usr/bin/sort", b"sort")
        .file("/usr/bin/echo", b"echo");
    let mut library = library;
    // The core fragment of the test library has sort as well.
    let core = library.index("core");
    let link = fragment_types::catalogue::PathProvider {
        component: core,
        kind: fragment_types::manifest::PathKind::Symlink,
        size: 0,
        digest: None,
        target: Some("busybox".into()),
    };
    library.0[core.0 as usize]
        .paths
        .push(("/usr/bin/sort".into(), link));
    let found = soft(&Rootfs::new(), &["sh", "-c", "sort x"], &library);
    assert_eq!(found, ["command `sort`"]);
    let found = soft(
        &Rootfs::new(),
        &["sh", "-c", "sort --parallel=4 x"],
        &library,
    );
    assert_eq!(found, ["command `sort`", "component `coreutils`"]);
}

#[test]
fn python_modules_that_are_run_by_others() {
    let rootfs = Rootfs::new();
    let found = soft(&rootfs, &["python3", "-m", "venv", "/tmp/v"], &library());
    assert!(
        found.contains(&"python3 module `ensurepip`".to_owned()),
        "{found:?}"
    );
}
