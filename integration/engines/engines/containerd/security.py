"""Capabilities, system call filters, devices."""

import json

from ..commands import expect
from .engine import containerd

# containerd's own set is the same as docker's
USUAL = "00000000a80425fb"


def status(ctr, field, *options):
    """A field of a container's first process."""
    return ctr.run("grep", f"^{field}:", "/proc/self/status", options=options).ok().output.split()[1]


@containerd.check
def the_usual_capabilities(ctr):
    expect((status(ctr, "CapEff"), status(ctr, "CapBnd")), (USUAL, USUAL), "capabilities")


@containerd.check
def capabilities_are_added_and_dropped(ctr):
    found = int(status(ctr, "CapEff", "--cap-add", "CAP_NET_ADMIN", "--cap-drop", "CAP_CHOWN"), 16)
    expect(found, int(USUAL, 16) & ~1 | 1 << 12, "capabilities")


@containerd.check
def no_new_privileges_unless_asked_for(ctr):
    expect((status(ctr, "NoNewPrivs"), status(ctr, "NoNewPrivs", "--allow-new-privs")), ("1", "0"), "NoNewPrivs")


@containerd.check
def no_filter_unless_asked_for(ctr):
    expect((status(ctr, "Seccomp"), status(ctr, "Seccomp", "--seccomp")), ("0", "2"), "Seccomp")


@containerd.check
def a_filter_from_a_file(ctr):
    profile = ctr.scratch / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}))
    container = ctr.begin("sleep", "100", options=("--seccomp", "--seccomp-profile", profile))
    ctr.exec(container, "mkdir", "/made").exits(1).complains("operation not permitted")
    ctr.exec(container, "touch", "/made").ok()


@containerd.check
def privileged_has_all_there_are(ctr):
    ctr.run("test", "-e", "/dev/kmsg", options=("--privileged",)).ok()


@containerd.check
def a_device_that_is_given_can_be_used(ctr):
    ctr.run("test", "-e", "/dev/kmsg").exits(1)
    ctr.run("test", "-c", "/dev/kmsg", options=("--device", "/dev/kmsg")).ok()


@containerd.check
def a_device_that_is_not_given_cannot_be_used(ctr):
    ctr.run("sh", "-c", "mknod /dev/mine c 1 11 && cat /dev/mine").exits(1).complains("operation not permitted")


@containerd.check
def proc_and_sys_are_protected(ctr):
    said = ctr.run("sh", "-c", "wc -c </proc/keys; (echo 1 >/proc/sys/kernel/domainname) 2>/dev/null || echo refused; (mkdir /sys/made) 2>/dev/null || echo refused")
    said.ok().prints("0\nrefused\nrefused")
