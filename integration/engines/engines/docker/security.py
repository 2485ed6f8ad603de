"""Capabilities, system call filters, privileges and devices."""

import json

from ..commands import expect, expect_in, expect_match
from .engine import BUSYBOX, docker

# docker's own set: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT,
# MKNOD, AUDIT_WRITE and SETFCAP
USUAL = "00000000a80425fb"
NET_ADMIN = 1 << 12


def capabilities(docker, *options):
    """The sets of a container's first process, by name."""
    said = docker.run(*options, BUSYBOX, "grep", "^Cap", "/proc/self/status").ok().output
    return dict(line.replace(":", "").split() for line in said.splitlines())


@docker.check
def the_usual_capabilities(docker):
    found = capabilities(docker)
    expect((found["CapEff"], found["CapPrm"], found["CapBnd"], found["CapAmb"]), (USUAL, USUAL, USUAL, "0" * 16), "capabilities")


@docker.check
def capabilities_are_added_and_dropped(docker):
    found = capabilities(docker, "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "CHOWN")
    expect(found["CapEff"], f"{NET_ADMIN | 1:016x}", "capabilities")
    docker.run("--cap-drop", "CHOWN", BUSYBOX, "chown", "app", "/etc/passwd").exits(1).complains("operation not permitted")


@docker.check
def a_user_has_a_bounding_set_only(docker):
    found = capabilities(docker, "--user", "app")
    expect((found["CapEff"], found["CapPrm"], found["CapBnd"]), ("0" * 16, "0" * 16, USUAL), "capabilities")


@docker.check
def privileged_has_all_there_are(docker):
    mine = next(line.split()[1] for line in open("/proc/self/status", encoding="ascii") if line.startswith("CapBnd"))
    found = capabilities(docker, "--privileged")
    expect((found["CapEff"], found["CapBnd"]), (mine, mine), "capabilities")
    docker.run("--privileged", BUSYBOX, "sh", "-c", "mount -t tmpfs tmpfs /tmp && test -e /dev/kmsg && test -w /proc/sys/kernel/domainname").ok()


@docker.check
def the_usual_filter_is_on(docker):
    docker.run(BUSYBOX, "grep", "^Seccomp:", "/proc/self/status").ok().prints("Seccomp:\t2")
    docker.run("--cap-add", "SYS_ADMIN", BUSYBOX, "sh", "-c", "grep ^Seccomp: /proc/self/status").ok().prints("Seccomp:\t2")


@docker.check
def the_filter_can_be_left_out(docker):
    docker.run("--security-opt", "seccomp=unconfined", BUSYBOX, "grep", "^Seccomp:", "/proc/self/status").ok().prints("Seccomp:\t0")


@docker.check
def a_filter_from_a_file(docker):
    profile = docker.scratch / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}))
    container = docker.begin("--security-opt", f"seccomp={profile}", BUSYBOX, "sleep", "100")
    docker.call("exec", container, "mkdir", "/made").exits(1).complains("operation not permitted")
    docker.call("exec", container, "touch", "/made").ok()


@docker.check
def a_filter_that_kills(docker):
    profile = docker.scratch / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}))
    docker.run("--security-opt", f"seccomp={profile}", BUSYBOX, "mkdir", "/made").exits(159)


@docker.check
def no_new_privileges(docker):
    docker.run("--security-opt", "no-new-privileges", BUSYBOX, "grep", "^NoNewPrivs", "/proc/self/status").ok().prints("NoNewPrivs:\t1")
    docker.run(BUSYBOX, "grep", "^NoNewPrivs", "/proc/self/status").ok().prints("NoNewPrivs:\t0")


@docker.check
def a_device_that_is_given_can_be_used(docker):
    docker.run("--device", "/dev/zero:/dev/nothing:r", BUSYBOX, "sh", "-c", "head -c 3 /dev/nothing | wc -c").ok().prints("3")
    docker.run("--device", "/dev/kmsg", BUSYBOX, "test", "-c", "/dev/kmsg").ok()


@docker.check
def a_device_that_is_not_given_cannot_be_used(docker):
    said = docker.run(BUSYBOX, "sh", "-c", "mknod /dev/mine c 1 11 && cat /dev/mine").exits(1)
    said.complains("operation not permitted")


@docker.check
def a_device_by_rule(docker):
    docker.run("--device-cgroup-rule", "c 1:11 rmw", BUSYBOX, "sh", "-c", "mknod /dev/mine c 1 11 && dd if=/dev/null of=/dev/mine 2>&1 | head -1").ok().prints("0+0 records in")


@docker.check
def mount_is_refused(docker):
    docker.run(BUSYBOX, "mount", "-t", "tmpfs", "tmpfs", "/tmp").exits(1).complains("permission denied")


@docker.check
def inspect_tells_what_is_in_force(docker):
    container = docker.begin("--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges", BUSYBOX, "sleep", "100")
    expect(docker.inspect(container, "{{.HostConfig.CapAdd}} {{.HostConfig.Privileged}} {{.HostConfig.Runtime}}"), "[NET_ADMIN] false tested", "inspect")
    expect_match(r"^\d+$", docker.inspect(container, "{{.State.Pid}}"), "process number")
    expect_in("no-new-privileges", docker.inspect(container, "{{.HostConfig.SecurityOpt}}"), "inspect")
