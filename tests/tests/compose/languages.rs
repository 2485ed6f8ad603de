//! Languages and tools of the library, each on a rootfs that holds the app's own files and nothing else.

use fragment_tests::Scene;

/// Runs `args` on a rootfs with `files`; an executable is a file that begins with `#!`.
pub(crate) fn output(files: &[(&str, &str)], args: &[&str]) -> String {
    let mut scene = Scene::empty();
    scene.bundle.directory("tmp", 0o1777);
    for (path, content) in files {
        let mode = if content.starts_with("#!") {
            0o755
        } else {
            0o644
        };
        if let Some((parent, _)) = path.rsplit_once('/') {
            scene.bundle.directory(parent, 0o755);
        }
        scene.bundle.file(path, content, mode);
    }
    scene.bundle.args(args).writable();
    scene.bundle.expect("rootfs");
    let output = scene.run();
    output.ok();
    output.stdout
}

/// A script as the entry, its interpreter named in its first line.
pub(crate) fn script(text: &str) -> String {
    output(&[("app", text)], &["/app"])
}

#[test]
fn ruby_with_its_standard_library() {
    let answer = script(
        "#!/usr/bin/env ruby\n\
         require 'json'\nrequire 'yaml'\nrequire 'openssl'\nrequire 'zlib'\n\
         puts JSON.generate(YAML.load('a: [1, 2]').merge('sum' => OpenSSL::Digest::SHA256.hexdigest('abc')[0, 8]))\n\
         puts Zlib::Inflate.inflate(Zlib::Deflate.deflate('again'))\n",
    );
    assert_eq!(answer, "{\"a\":[1,2],\"sum\":\"ba7816bf\"}\nagain\n");
}

#[test]
fn a_ruby_app_of_several_files() {
    let answer = output(
        &[
            (
                "srv/main.rb",
                "require_relative 'lib/sum'\nputs Sum.of([40, 2])\n",
            ),
            (
                "srv/lib/sum.rb",
                "require 'set'\nmodule Sum\n  def self.of(n) = Set.new(n).sum\nend\n",
            ),
        ],
        &["ruby", "/srv/main.rb"],
    );
    assert_eq!(answer, "42\n");
}

#[test]
fn php_serves_an_app() {
    let answer = output(
        &[(
            "srv/index.php",
            "<?php echo json_encode(['answer' => mb_strlen('grün') * 10 + 2]), \"\\n\";",
        )],
        &[
            "sh",
            "-c",
            "php -S 127.0.0.1:8000 -t /srv 2> /dev/null & \
             until wget -q -O - http://127.0.0.1:8000/ 2> /dev/null; do sleep 0.1; done; kill $!",
        ],
    );
    assert_eq!(answer, "{\"answer\":42}\n");
}

#[test]
fn lua_requires_a_module_beside_it() {
    let answer = output(
        &[
            (
                "app",
                "#!/usr/bin/lua5.4\npackage.path = '/srv/?.lua'\nprint(require('twice')(21))\n",
            ),
            ("srv/twice.lua", "return function(n) return n << 1 end\n"),
        ],
        &["/app"],
    );
    assert_eq!(answer, "42\n");
}

#[test]
fn tcl_with_its_packages_and_time_zones() {
    let answer = script(
        "#!/usr/bin/tclsh\n\
         package require msgcat\n\
         puts [clock format 1719784800 -format {%H:%M} -timezone :Europe/Berlin]\n\
         puts [expr {2 ** 70}]\n",
    );
    assert_eq!(answer, "00:00\n1180591620717411303424\n");
}

#[test]
fn git_commits_and_clones() {
    let answer = script(
        "#!/bin/sh\nset -e\nexport HOME=/tmp\ncd /tmp\n\
         git config --global user.name Ada\ngit config --global user.email ada@example.org\n\
         git init -q one\necho text > one/file\ngit -C one add file\ngit -C one commit -qm first\n\
         git clone -q one two\ngit -C two log --format='%an %s'\ncat two/file\n",
    );
    assert_eq!(answer, "Ada first\ntext\n");
}

#[test]
fn psql_says_why_there_is_no_server() {
    let answer = script(
        "#!/bin/sh\npsql -h 127.0.0.1 -p 9 -U ada -c 'select 1' test 2>&1\necho $?\npg_dump --version\n",
    );
    assert!(answer.contains("Connection refused"), "{answer}");
    assert!(answer.contains("\n2\npg_dump (PostgreSQL) 15."), "{answer}");
}

#[test]
fn gcc_compiles_the_app_s_own_source() {
    let answer = output(
        &[(
            "srv/sum.c",
            "#include <math.h>\n#include <stdio.h>\nint main(void) { printf(\"%.0f\\n\", sqrt(1764)); }\n",
        )],
        &[
            "sh",
            "-c",
            "gcc -O2 -Wall -Werror -o /tmp/sum /srv/sum.c -lm && /tmp/sum",
        ],
    );
    assert_eq!(answer, "42\n");
}

#[test]
fn gxx_compiles_and_throws() {
    let answer = output(
        &[(
            "srv/a.cc",
            "#include <iostream>\n#include <stdexcept>\n\
             int main() { try { throw std::runtime_error(\"caught\"); } catch (std::exception &e) { std::cout << e.what() << '\\n'; } }\n",
        )],
        &["sh", "-c", "g++ -o /tmp/a /srv/a.cc && /tmp/a"],
    );
    assert_eq!(answer, "caught\n");
}

#[test]
fn imagemagick_draws_text_and_converts() {
    let answer = script(
        "#!/bin/sh\nset -e\ncd /tmp\n\
         convert -font DejaVu-Sans -pointsize 24 label:Hello a.png\nconvert a.png a.jpg\n\
         identify -format '%m %[fx:mean<1]\\n' a.png a.jpg\n",
    );
    assert_eq!(answer, "PNG 1\nJPEG 1\n");
}
