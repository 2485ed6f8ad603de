//! Java: sources, archives of classes and launchers on a rootfs that holds nothing else.

use std::path::Path;

use fragment_tests::{Scene, fragment};
use serde_json::json;

use crate::languages::{output, script};

const MAIN: &str = "import java.util.stream.IntStream;\n\
     public class Main {\n\
     \x20 record Pair(int a, int b) {}\n\
     \x20 public static void main(String[] args) {\n\
     \x20   var pair = new Pair(IntStream.rangeClosed(1, 8).sum(), 6);\n\
     \x20   System.out.println(pair.a() + pair.b() + \" \" + String.join(\"-\", args));\n\
     \x20 }\n\
     }\n";

/// `/srv/app.jar`, made of [`MAIN`] by the compiler of the library in a container of its own.
fn archive(directory: &Path) -> std::path::PathBuf {
    let mut scene = Scene::empty();
    scene.bundle.directory("srv", 0o755).directory("out", 0o755);
    scene
        .bundle
        .directory("tmp", 0o1777)
        .file("srv/Main.java", MAIN, 0o644)
        .args(&[
            "sh",
            "-c",
            "javac -d /tmp/classes /srv/Main.java && jar --create --file /out/app.jar --main-class Main -C /tmp/classes .",
        ])
        .writable()
        .mount(json!({
            "destination": "/out", "type": "bind", "source": directory, "options": ["bind", "rw"]
        }));
    scene.bundle.expect("rootfs");
    scene.run().ok();
    directory.join("app.jar")
}

/// The components composed for the bundle of `scene`.
fn components(scene: &Scene) -> Vec<String> {
    let bundle = scene.bundle.path().display().to_string();
    let plan = fragment::call(&["plan", "--json", "--bundle", &bundle])
        .output()
        .ok()
        .json();
    let layers = plan["plan"]["layers"].as_array().expect("layers");
    let name = |layer: &serde_json::Value| layer["name"].as_str().expect("a name").to_owned();
    layers.iter().map(name).collect()
}

#[test]
fn an_archive_compiled_in_one_container_runs_in_another() {
    let mut scene = Scene::empty();
    let out = scene.file("out");
    std::fs::create_dir(&out).expect("a directory");
    let archive = archive(&out);
    scene
        .bundle
        .directory("srv", 0o755)
        .directory("tmp", 0o1777);
    scene
        .bundle
        .copy(&archive, "srv/app.jar")
        .args(&["java", "-jar", "/srv/app.jar", "a", "b"])
        .writable();
    scene.bundle.expect("rootfs");
    let components = components(&scene);
    for (name, composed) in [
        ("openjdk-17-jre-headless", true),
        // neither a compiler nor windows
        ("openjdk-17-jdk-headless", false),
        ("libx11-6", false),
    ] {
        assert_eq!(
            components.iter().any(|c| c == name),
            composed,
            "{name}: {components:?}"
        );
    }
    scene.run().ok().stdout("42 a-b\n");
}

#[test]
fn java_runs_a_source_and_a_script_of_its_own() {
    let words = ["java", "/srv/Main.java", "x"];
    assert_eq!(output(&[("srv/Main.java", MAIN)], &words), "42 x\n");
    // JEP 330: a script with an interpreter line and without the extension
    let shebang = "#!/usr/bin/java --source 17";
    assert_eq!(script(&format!("{shebang}\n{MAIN}")), "42 \n");
}

#[test]
fn a_launcher_finds_java_by_its_home() {
    for home in [
        "/usr/lib/jvm/default-java",
        "/usr/lib/jvm/java-17-openjdk-amd64",
    ] {
        let text = format!(
            "#!/bin/sh\nJAVA_HOME={home}\nexec \"$JAVA_HOME/bin/java\" /srv/Main.java home\n"
        );
        let files = [("app", text.as_str()), ("srv/Main.java", MAIN)];
        assert_eq!(output(&files, &["/app"]), "42 home\n", "{home}");
    }
}

#[test]
fn java_trusts_the_authorities_of_the_distribution() {
    let answer = output(
        &[(
            "srv/Roots.java",
            "import java.security.KeyStore;\nimport javax.net.ssl.*;\n\
             class Roots { public static void main(String[] a) throws Exception {\n\
               var f = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());\n\
               f.init((KeyStore) null);\n\
               System.out.println(((X509TrustManager) f.getTrustManagers()[0]).getAcceptedIssuers().length > 100);\n\
             } }\n",
        )],
        &["java", "/srv/Roots.java"],
    );
    assert_eq!(answer, "true\n");
}
