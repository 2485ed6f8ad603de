"""Users, capabilities, filters."""

import json

from ..commands import expect, expect_in, expect_match
from .engine import cri

IDS = ("sh", "-c", "id -u; id -g; id -G")
# containerd's own set for the interface
USUAL = 0xA80425FB


def inside(cri, *command, **context):
    """What a container with a security context prints."""
    return cri.run(*command, linux={"security_context": context})


def field(cri, name, **context):
    """A field of the status of a container's first process."""
    return inside(cri, "grep", f"^{name}:", "/proc/self/status", **context).split()[1]


@cri.check
def user_and_groups_by_number(cri):
    said = inside(cri, *IDS, run_as_user={"value": 1234}, run_as_group={"value": 5678}, supplemental_groups=[77, 88])
    expect(said.split("\n")[:2], ["1234", "5678"], "user and group")
    expect({"5678", "77", "88"} - set(said.split("\n")[2].split()), set(), "groups")


@cri.check
def user_by_name(cri):
    said = inside(cri, *IDS, run_as_username="app")
    expect(said.split("\n")[:2], ["1000", "1000"], "user and group")
    expect_in("2000", said.split("\n")[2], "groups")


@cri.check
def an_unknown_user_is_refused(cri):
    pod = cri.pod()
    words = cri.refused("CreateContainer", pod_sandbox_id=pod.id, sandbox_config=pod.config, config={
        "metadata": {"name": "c"}, "image": {"image": "localhost/busybox:1"}, "command": ["true"], "linux": {"security_context": {"run_as_username": "nosuchuser"}}})
    expect_match("nosuchuser|no users found", words, "error")


@cri.check
def the_usual_capabilities(cri):
    expect(int(field(cri, "CapEff"), 16), USUAL, "capabilities")


@cri.check
def capabilities_are_added_and_dropped(cri):
    found = field(cri, "CapEff", capabilities={"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]})
    expect(int(found, 16), USUAL & ~1 | 1 << 12, "capabilities")
    found = field(cri, "CapBnd", capabilities={"add_capabilities": ["NET_BIND_SERVICE"], "drop_capabilities": ["ALL"]})
    expect(int(found, 16), 1 << 10, "capabilities")


@cri.check
def privileged_has_all_there_are(cri):
    pod = cri.pod(linux={"security_context": {"privileged": True}})
    cri.run("test", "-e", "/dev/kmsg", pod=pod, linux={"security_context": {"privileged": True}})


@cri.check
def no_new_privileges(cri):
    expect((field(cri, "NoNewPrivs", no_new_privs=True), field(cri, "NoNewPrivs")), ("1", "0"), "NoNewPrivs")


@cri.check
def the_usual_filter_and_none(cri):
    expect(field(cri, "Seccomp", seccomp={"profile_type": "RuntimeDefault"}), "2", "the usual filter")
    expect(field(cri, "Seccomp", seccomp={"profile_type": "Unconfined"}), "0", "no filter")


@cri.check
def a_filter_from_a_file(cri):
    profile = cri.scratch / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}))
    context = {"security_context": {"seccomp": {"profile_type": "Localhost", "localhost_ref": str(profile)}}}
    container = cri.pod().start("sleep", "1000", linux=context)
    expect_in("Operation not permitted", container.exec("mkdir", "/made", status=1), "mkdir")
    container.exec("touch", "/made")
