//! Findings about machines that do not exist.

use std::fs;

use fragment_tests::fragment;

use super::{Findings, MadeUp};

#[test]
fn engines_that_are_not_there_are_no_finding_to_act_on() {
    let findings = MadeUp::new().findings();
    for engine in ["podman", "docker", "containerd", "CRI-O"] {
        findings.has(engine, "ok", "not installed");
    }
}

#[test]
fn engines_that_do_not_know_the_runtime_are_told_of_it() {
    for (engine, subject, program) in [
        ("podman", "podman", "/usr/bin/podman"),
        ("docker", "docker", "/usr/sbin/dockerd"),
        ("containerd", "containerd", "/usr/bin/containerd"),
        ("crio", "CRI-O", "/usr/local/bin/crio"),
    ] {
        let machine = MadeUp::new();
        machine.program(program);
        let findings = machine.findings();
        findings.has(subject, "warning", "fragment-runc");
        let remedy = findings.about(subject)[0]["remedy"].clone();
        assert_eq!(remedy, format!("fragment doctor --write {engine}"));
        machine.write(engine).ok();
        machine.findings().is_ok(subject);
        // twice is once
        machine.write(engine).ok().says("says so already");
        // and a runtime that has gone is told
        fs::remove_file(machine.place("/usr/bin/fragment-runc")).expect("remove");
        machine.findings().has(
            subject,
            "problem",
            "/usr/bin/fragment-runc, which is no program",
        );
    }
}

#[test]
fn a_runtime_whose_messages_podman_drops_is_a_problem() {
    let machine = MadeUp::new();
    machine.program("/usr/bin/podman").program("/opt/fragment-runc").file(
        "/etc/containers/containers.conf",
        "[engine]\nruntime = \"crun\"\n[engine.runtimes]\nfragment-runc = [\"/nowhere\", \"/opt/fragment-runc\"]\n",
    );
    let findings = machine.findings();
    findings.has("podman", "problem", "runtime_supports_json");
    assert_eq!(findings.code, Some(1));
    machine.write("podman").ok();
    machine.findings().is_ok("podman");
    // a later file takes the list's place
    machine.file(
        "/etc/containers/containers.conf.d/zz.conf",
        "[engine]\nruntime_supports_json = [\"crun\"]\n",
    );
    machine
        .findings()
        .has("podman", "problem", "zz.conf lacks fragment-runc");
}

#[test]
fn a_file_that_an_engine_cannot_read_is_a_problem() {
    for (subject, file) in [
        ("podman", "/etc/containers/containers.conf"),
        ("docker", "/etc/docker/daemon.json"),
        ("containerd", "/etc/containerd/config.toml"),
        ("CRI-O", "/etc/crio/crio.conf.d/x.conf"),
    ] {
        let machine = MadeUp::new();
        machine.file(file, "[ this is = nothing\n");
        let findings = machine.findings();
        findings.has(subject, "problem", file);
        assert_eq!(findings.code, Some(1), "{file}");
    }
}

#[test]
fn a_handler_of_containerd_is_looked_at_closely() {
    let handler = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.thin]\n";
    let options = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.thin.options]\n";
    for (lines, level, words) in [
        (
            format!(
                "runtime_type = \"io.containerd.runtime.v1.linux\"\n{options}BinaryName = \"/bin/fragment-runc\"\n"
            ),
            "problem",
            "io.containerd.runtime.v1.linux",
        ),
        (
            format!(
                "runtime_type = \"io.containerd.runc.v2\"\n{options}BinaryName = \"/bin/fragment-runc\"\n"
            ),
            "warning",
            "pod_annotations, container_annotations",
        ),
        (
            format!(
                "runtime_type = \"io.containerd.runc.v2\"\npod_annotations = [\"dev.*\"]\ncontainer_annotations = [\"*\"]\n{options}BinaryName = \"/bin/fragment-runc\"\n"
            ),
            "ok",
            "handler thin",
        ),
    ] {
        let machine = MadeUp::new();
        machine.program("/bin/fragment-runc").file(
            "/etc/containerd/config.toml",
            &format!("version = 2\n{handler}{lines}"),
        );
        machine.findings().has("containerd", level, words);
    }
    // control groups past systemd
    let machine = MadeUp::new();
    machine.program("/usr/bin/containerd");
    machine.write("containerd").ok();
    machine.findings().is_ok("containerd");
    machine.file("/run/systemd/system/x", "");
    machine
        .findings()
        .has("containerd", "warning", "past systemd");
    machine
        .write("containerd")
        .ok()
        .says("the rest of it is as it was");
    machine.findings().is_ok("containerd");
    assert!(
        machine
            .read("/etc/containerd/config.toml")
            .contains("SystemdCgroup = true")
    );
}

#[test]
fn an_import_takes_the_place_of_containerd_s_section() {
    let machine = MadeUp::new();
    machine.program("/usr/bin/containerd");
    machine.write("containerd").ok();
    let main = machine.read("/etc/containerd/config.toml");
    machine
        .file(
            "/etc/containerd/config.toml",
            &main.replace(
                "version = 2\n",
                "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n",
            ),
        )
        .file(
            "/etc/containerd/conf.d/cni.toml",
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/cni\"\n",
        );
    machine
        .findings()
        .has("containerd", "warning", "no runtime handler");
}

#[test]
fn an_annotation_that_keeps_cri_o_from_starting_is_a_problem() {
    let machine = MadeUp::new();
    machine.program("/bin/fragment-runc").file(
        "/etc/crio/crio.conf",
        "[crio.runtime.runtimes.fragment-runc]\nruntime_path = \"/bin/fragment-runc\"\nallowed_annotations = [\"dev.fragment.compose\"]\n",
    );
    machine
        .findings()
        .has("CRI-O", "problem", "dev.fragment.compose");
}

#[test]
fn what_others_wrote_stays() {
    let machine = MadeUp::new();
    machine.file(
        "/etc/docker/daemon.json",
        r#"{"data-root": "/srv/docker", "runtimes": {"kata": {"path": "kata"}}}"#,
    );
    machine
        .write("docker")
        .ok()
        .says("the rest of it is as it was");
    let text = machine.read("/etc/docker/daemon.json");
    for words in ["/srv/docker", "kata", "/usr/bin/fragment-runc"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let foreign = "[engine]\nruntime = \"crun\"\n";
    let drop_in = "/etc/containers/containers.conf.d/fragment-runc.conf";
    machine.file(drop_in, foreign);
    machine
        .write("podman")
        .code(1)
        .fails_with("was not written by fragment");
    assert_eq!(machine.read(drop_in), foreign);
    machine
        .doctor(&[
            "--write",
            "podman",
            "--force",
            "--runtime",
            "/usr/bin/fragment-runc",
        ])
        .output()
        .ok()
        .says("replaced");
    assert_ne!(machine.read(drop_in), foreign);
    for (file, wrong) in [
        ("/etc/docker/daemon.json", "no JSON"),
        ("/etc/containerd/config.toml", "root = \"/version/1\"\n"),
    ] {
        let engine = if file.contains("docker") {
            "docker"
        } else {
            "containerd"
        };
        machine.file(file, wrong);
        machine.write(engine).code(1).fails_with(file);
        assert_eq!(machine.read(file), wrong);
    }
}

#[test]
fn a_snippet_is_printed_or_put_elsewhere() {
    let machine = MadeUp::new();
    let printed = machine
        .doctor(&["--write", "kubernetes"])
        .args(["--runtime", "/usr/bin/fragment-runc"])
        .output();
    printed
        .ok()
        .says("kind: RuntimeClass")
        .says("handler: fragment-runc");
    let to = machine.place("/elsewhere/x.conf");
    let write = |to: &str| {
        machine
            .doctor(&[
                "--write",
                "crio",
                "--runtime",
                "/opt/x/fragment-runc",
                "--to",
                to,
            ])
            .output()
    };
    write(to.to_str().expect("UTF-8")).ok();
    let text = machine.read("/elsewhere/x.conf");
    assert!(
        text.contains("runtime_path = \"/opt/x/fragment-runc\""),
        "{text}"
    );
    write("-").ok().stdout(&text);
    assert!(
        !machine.place("/etc").exists(),
        "nothing where the engine reads"
    );
}

#[test]
fn settings_of_the_kernel_that_keep_users_out_are_told() {
    let machine = MadeUp::new();
    machine
        .file("/proc/sys/user/max_user_namespaces", "0\n")
        .file("/proc/sys/kernel/unprivileged_userns_clone", "0\n")
        .file(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1\n",
        )
        .file("/proc/sys/fs/mount-max", "500\n")
        .file("/sys/fs/selinux/enforce", "1")
        .file("/sys/module/apparmor/parameters/enabled", "Y\n");
    let findings = machine.findings();
    for name in [
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ] {
        findings.has("user namespaces", "warning", name);
    }
    findings.has("kernel", "warning", "fs.mount-max is 500");
    findings.has("security modules", "warning", "SELinux is enforcing");
    findings.has("security modules", "warning", "no apparmor_parser");
    machine.program("/sbin/apparmor_parser");
    machine
        .findings()
        .has("security modules", "ok", "AppArmor is on");
}

#[test]
fn cgroups_of_every_kind_are_told_apart() {
    let machine = MadeUp::new();
    let mounts = |text: &str| {
        machine.file("/proc/self/mountinfo", text);
        machine.findings()
    };
    mounts("30 29 0:26 / /mnt rw - ext4 /dev/x rw\n").has("cgroups", "problem", "no hierarchy");
    let v2 = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    machine.file("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
    let findings = mounts(v2);
    findings.has(
        "cgroups",
        "ok",
        "version 2; controllers: cpuset cpu io pids",
    );
    findings.has("cgroups", "warning", "no limits on memory");
    let v1 = "36 29 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    mounts(&format!("{v1}{v2}")).has("cgroups", "ok", "hybrid");
}

#[test]
fn a_configuration_that_cannot_be_followed_is_a_problem() {
    let machine = MadeUp::new();
    machine.file(
        "/etc/fragment/fragment.yaml",
        "compose: auto\nstore: library\n",
    );
    let findings = machine.findings();
    findings.has(
        "configuration",
        "problem",
        "fragment.yaml:2: store: `library` is not valid: an absolute path",
    );
    assert_eq!(findings.code, Some(1));
    machine.file("/etc/fragment/fragment.yaml", "store: /srv/library\n");
    machine
        .findings()
        .has("configuration", "ok", "/srv/library");
    machine
        .findings()
        .has("component library", "warning", "none at /srv/library");
}

#[test]
fn a_damaged_library_is_a_problem() {
    let machine = MadeUp::new();
    machine.file(
        "/var/lib/fragment/oci-layout",
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    );
    machine.file("/var/lib/fragment/catalogue", "no catalogue");
    machine
        .findings()
        .has("component library", "problem", "cannot be used");
}

#[test]
fn a_mistake_in_a_variable_is_a_finding_and_no_end() {
    let call = fragment::call(&["doctor", "--json"]).env("FRAGMENT_COMPOSE", "never");
    let findings = Findings::of(call);
    findings.has(
        "configuration",
        "problem",
        "variable FRAGMENT_COMPOSE: `never`",
    );
    assert_eq!(findings.code, Some(1));
    assert!(!findings.about("kernel").is_empty());
}
