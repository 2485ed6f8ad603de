"""Users, capabilities, filters, and what a process finds around it."""

import json
import pathlib
import re

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, STAY, podman, rootless


def capabilities(podman, *words):
    """The effective set of a container's program, as a number."""
    return int(podman.run(*words, BUSYBOX, "grep", "CapEff", "/proc/self/status").ok().output.split()[1], 16)


CHOWN, NET_ADMIN, SYS_ADMIN = 1 << 0, 1 << 12, 1 << 21


@rootless.check
@podman.check
def the_user_is_a_number_a_name_or_both(podman):
    for user, wanted in (("1234", "1234 0"), ("app", "1000 1000"), ("app:extra", "1000 2000"), ("5:6", "5 6")):
        podman.run("--user", user, BUSYBOX, "sh", "-c", "echo $(id -u) $(id -g)").ok().prints(wanted)
    podman.run("--user", "nobody-at-all", BUSYBOX, "true").exits(126).complains("nobody-at-all")


@podman.check
def groups_are_added(podman):
    groups = podman.run("--user", "app", "--group-add", "4321", BUSYBOX, "id", "-G").ok().output.split()
    expect({"2000", "4321"} - set(groups), set(), "groups that are missing")


@podman.check
def home_is_the_users(podman):
    for user, wanted in (("root", "/root"), ("app", "/home/app"), ("4711", "/")):
        podman.run("--user", user, BUSYBOX, "sh", "-c", "echo $HOME").ok().prints(wanted)


@rootless.check
@podman.check
def capabilities_are_added_and_dropped(podman):
    default = capabilities(podman)
    expect((bool(default & CHOWN), bool(default & SYS_ADMIN)), (True, False), "chown and sys_admin by default")
    expect(capabilities(podman, "--cap-drop=all"), 0, "none")
    expect(capabilities(podman, "--cap-drop=all", "--cap-add=NET_ADMIN"), NET_ADMIN, "net_admin alone")
    expect(capabilities(podman, "--cap-add=SYS_ADMIN"), default | SYS_ADMIN, "one more")
    expect(capabilities(podman, "--cap-drop=CHOWN"), default & ~CHOWN, "one less")
    expect(capabilities(podman, "--user=app"), 0, "of another user")


@podman.check
def a_dropped_capability_is_missed(podman):
    podman.run(BUSYBOX, "chown", "1:1", "/tmp").ok()
    podman.run("--cap-drop=CHOWN", BUSYBOX, "chown", "1:1", "/tmp").exits(1).complains("not permitted")


@podman.check
def privileged_has_all_rights_and_devices(podman):
    own = int(re.search(r"CapEff:\s+(\S+)", pathlib.Path("/proc/self/status").read_text()).group(1), 16)
    expect(capabilities(podman, "--privileged"), own, "capabilities")
    podman.run("--privileged", BUSYBOX, "sh", "-c", "mount -t tmpfs none /tmp && test -c /dev/kmsg && test -w /proc/sys/kernel/hostname && echo yes").ok().prints("yes")
    podman.run("--privileged", BUSYBOX, "grep", "Seccomp:", "/proc/self/status").ok().prints("Seccomp:\t0")


@rootless.check
@podman.check
def there_is_a_filter_by_default_and_none_when_unconfined(podman):
    podman.run(BUSYBOX, "grep", "Seccomp:", "/proc/self/status").ok().prints("Seccomp:\t2")
    podman.run("--security-opt=seccomp=unconfined", BUSYBOX, "grep", "Seccomp:", "/proc/self/status").ok().prints("Seccomp:\t0")


@rootless.check
@podman.check
def a_filter_of_ones_own_is_applied(podman):
    profile = podman.scratch / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }))
    flag = f"--security-opt=seccomp={profile}"
    podman.run(flag, BUSYBOX, "mkdir", "/tmp/x").exits(1).complains("operation not supported")
    podman.run(flag, BUSYBOX, "touch", "/tmp/x").ok()
    container = podman.detached(flag, BUSYBOX, *STAY)
    podman.call("exec", container, "mkdir", "/tmp/x").exits(1).complains("operation not supported")


@podman.check
def a_filter_that_cannot_be_read_is_refused(podman):
    profile = podman.scratch / "profile.json"
    profile.write_text("{")
    podman.run(f"--security-opt=seccomp={profile}", BUSYBOX, "true").exits(125)


@rootless.check
@podman.check
def no_new_privileges(podman):
    for flag, wanted in (("--security-opt=no-new-privileges", "1"), ("--security-opt=no-new-privileges=false", "0")):
        podman.run(flag, BUSYBOX, "grep", "NoNewPrivs", "/proc/self/status").ok().prints(f"NoNewPrivs:\t{wanted}")


@rootless.check
@podman.check
def init_collects_orphans(podman):
    container = podman.detached("--init", BUSYBOX, "sh", "-c", "(sleep 0.1 &); exec sleep 100")
    expect_match("catatonit|podman-init|dev/init", podman.ok("exec", container, "cat", "/proc/1/cmdline"), "process 1")
    until(lambda: podman.ok("exec", container, "ps", "-o", "comm").split().count("sleep") == 1, "the orphan is collected")
    podman.ok("stop", "--time=10", container)
    expect(podman.inspect(container, "{{.State.ExitCode}}"), "143", "its status: the signal was passed on")


@podman.check
def environment_and_directory(podman):
    file = podman.scratch / "file"
    file.write_text("B=from file\n")
    words = ["--env", "A=a b", "--env-file", file, "--workdir", "/home/app", BUSYBOX]
    podman.run(*words, "sh", "-c", 'echo "$A,$B,$container,$(pwd)"').ok().prints("a b,from file,podman,/home/app")


@podman.check
def the_entry_point_can_be_another(podman):
    podman.run("--entrypoint", '["echo", "first"]', BUSYBOX, "second").ok().prints("first second")


@rootless.check
@podman.check
def the_host_name_is_its_own(podman):
    podman.run("--hostname", "somebody", BUSYBOX, "sh", "-c", "hostname; grep -c somebody /etc/hosts; cat /etc/hostname").ok().prints("somebody\n1\nsomebody")


@podman.check
def limits_of_processes(podman):
    # podman's own limits of processes and files would be above this machine's
    words = ("--ulimit", "nproc=1000:2000", "--ulimit", "nofile=100:200")
    podman.run(*words, "--ulimit", "core=0", BUSYBOX, "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c").ok().prints("100\n200\n0")
    # not of files: runc built with Go 1.19 raises their soft limit for exec
    container = podman.detached(*words, "--ulimit", "stack=1048576:2097152", BUSYBOX, *STAY)
    expect(podman.ok("exec", container, "sh", "-c", "ulimit -Ss; ulimit -Hs"), "1024\n2048", "limits of exec")


@rootless.check
@podman.check
def kernel_settings(podman):
    podman.run("--sysctl", "net.ipv4.ip_default_ttl=42", "--sysctl", "kernel.msgmax=9999", BUSYBOX, "sysctl", "-n", "net.ipv4.ip_default_ttl", "kernel.msgmax").ok().prints("42\n9999")


@podman.check
def a_device_is_there_and_others_are_refused(podman):
    podman.run("--device", "/dev/full:/dev/mine:rw", BUSYBOX, "sh", "-c", "test -c /dev/mine && ! echo x >/dev/mine && echo full").prints("full")
    podman.run("--cap-add=MKNOD", BUSYBOX, "sh", "-c", "mknod /tmp/fuse c 10 229 && : </tmp/fuse").exits(1).complains("not permitted")


@podman.check
def a_device_rule_is_in_force(podman):
    podman.run("--cap-add=MKNOD", "--device-cgroup-rule=c 10:229 rm", BUSYBOX, "sh", "-c", "mknod /tmp/fuse c 10 229 && : </tmp/fuse && echo opened").ok().prints("opened")


@podman.check
def paths_are_masked_and_unmasked(podman):
    podman.run(BUSYBOX, "sh", "-c", "ls /sys/firmware | wc -l; test -c /proc/timer_list && echo masked").prints("0\nmasked")
    podman.run("--security-opt=mask=/etc/group", BUSYBOX, "wc", "-c", "/etc/group").ok().prints("0 /etc/group")
    podman.run("--security-opt=unmask=ALL", BUSYBOX, "sh", "-c", "test -c /proc/timer_list || echo open").ok().prints("open")
    podman.run(BUSYBOX, "sh", "-c", "echo x >/proc/sys/kernel/hostname").exits(1).complains("read-only file system")


@podman.check
def the_file_mode_mask(podman):
    podman.run("--umask=0027", BUSYBOX, "sh", "-c", "umask; touch /tmp/x; stat -c %a /tmp/x").ok().prints("0027\n640")


@podman.check
def the_score_of_the_oom_killer(podman):
    podman.run("--oom-score-adj=500", BUSYBOX, "cat", "/proc/self/oom_score_adj").ok().prints("500")


@podman.check
def namespaces_of_the_host(podman):
    for kind, namespace in (("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net"), ("cgroupns", "cgroup")):
        podman.run(f"--{kind}=host", BUSYBOX, "readlink", f"/proc/self/ns/{namespace}").ok().prints(str(pathlib.Path(f"/proc/self/ns/{namespace}").readlink()))


@rootless.check
@podman.check
def namespaces_of_another_container(podman):
    other = podman.detached(BUSYBOX, *STAY)
    for kind, namespace in (("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("network", "net")):
        wanted = podman.ok("exec", other, "readlink", f"/proc/self/ns/{namespace}")
        podman.run(f"--{kind}=container:{other}", BUSYBOX, "readlink", f"/proc/self/ns/{namespace}").ok().prints(wanted)


@podman.check
def users_are_mapped(podman):
    words = ["--uidmap=0:100000:5000", "--gidmap=0:200000:5000"]
    podman.run(*words, BUSYBOX, "sh", "-c", "id -u; awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map").ok().prints("0\n0 100000 5000\n0 200000 5000")
    container = podman.detached(*words, BUSYBOX, *STAY)
    expect(pathlib.Path(f"/proc/{podman.inspect(container, '{{.State.Pid}}')}").stat().st_uid, 100000, "owner of process 1 outside")
    podman.ok("exec", container, "touch", "/tmp/mine")
    expect(podman.ok("exec", "--user", "app", container, "sh", "-c", "id -u; stat -c %u /tmp/mine"), "1000\n0", "exec as app")


@podman.check
def users_are_mapped_automatically(podman):
    maps = [podman.run("--userns=auto:size=2000", BUSYBOX, "cat", "/proc/self/uid_map").ok().output.split() for _ in range(2)]
    for mapped in maps:
        expect((mapped[0], mapped[2]), ("0", "2000"), "the first number inside and how many")
        if int(mapped[1]) < 1_000_000:
            expect(mapped[1], "one of the subordinate ids", "the first number outside")


@rootless.check
def users_are_mapped_by_default(podman):
    podman.run(BUSYBOX, "sh", "-c", "awk '{print $1, $2, $3}' /proc/self/uid_map").ok().prints("0 12345 1\n1 200000 65536")


@rootless.check
def the_user_keeps_its_number(podman):
    podman.run("--userns=keep-id", BUSYBOX, "id", "-u").ok().prints("12345")


@podman.check
def annotations_reach_the_specification(podman):
    container = podman.detached("--annotation", "some.thing=some value", BUSYBOX, *STAY)
    expect_in("some value", podman.inspect(container, "{{json .Config.Annotations}}"), "podman inspect")
    state = podman.call("inspect", "--format", "{{.OCIConfigPath}}", container).ok().output.strip()
    expect(json.loads(pathlib.Path(state).read_text())["annotations"]["some.thing"], "some value", "config.json")


@podman.check
def hooks_run_with_the_state(podman):
    hooks = podman.scratch / "hooks"
    hooks.mkdir()
    script = podman.scratch / "hook"
    script.write_text(f"#!/bin/sh\ncat >{podman.scratch}/$1\n")
    script.chmod(0o755)
    for stage in ("prestart", "createRuntime", "poststart", "poststop"):
        (hooks / f"{stage}.json").write_text(json.dumps({
            "version": "1.0.0", "hook": {"path": str(script), "args": [str(script), stage]}, "when": {"always": True}, "stages": [stage],
        }))
    container = podman.ok("--hooks-dir", hooks, "run", "--detach", "--annotation", "a=b", BUSYBOX, "sleep", "0.3")
    expect(podman.ok("wait", container), "0", "its status")
    until(lambda: (podman.scratch / "poststop").exists() and (podman.scratch / "poststop").read_text(), "the poststop hook")
    for stage, wanted in (("prestart", "creat"), ("createRuntime", "creat"), ("poststart", "running|created"), ("poststop", "stopped")):
        state = json.loads((podman.scratch / stage).read_text())
        expect((state["id"], state["annotations"]["a"]), (container, "b"), f"id and annotation in the state of {stage}")
        expect_match(wanted, state["status"], f"status in the state of {stage}")


@podman.check
def a_hook_that_fails_stops_the_start(podman):
    hooks = podman.scratch / "hooks"
    hooks.mkdir()
    (hooks / "bad.json").write_text(json.dumps({
        "version": "1.0.0", "hook": {"path": "/bin/false"}, "when": {"always": True}, "stages": ["createRuntime"],
    }))
    podman.call("--hooks-dir", hooks, "run", "--rm", BUSYBOX, "true").exits(126).complains("hook")


@rootless.check
@podman.check
def secrets_are_files_inside(podman):
    (podman.scratch / "secret").write_text("hush")
    podman.ok("secret", "create", podman.unique, podman.scratch / "secret")
    try:
        podman.run("--secret", f"{podman.unique},mode=0400", BUSYBOX, "sh", "-c", f"cat /run/secrets/{podman.unique}; stat -c %a /run/secrets/*").ok().prints("hush400")
    finally:
        podman.ok("secret", "rm", podman.unique)


@podman.check
def what_systemd_needs_is_mounted(podman):
    words = ["--systemd=always", BUSYBOX, "sh", "-c", "for d in /run /run/lock /tmp /var/log/journal; do grep -c \" $d tmpfs\" /proc/mounts; done; grep -q '/sys/fs/cgroup/systemd' /proc/mounts && echo 1; echo $container_uuid | wc -c"]
    podman.run(*words).ok().prints("1\n1\n1\n1\n1\n33")
