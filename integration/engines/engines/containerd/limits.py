"""Limits and counts."""

import json
import pathlib

from ..commands import Mismatch, expect, expect_match, until
from .engine import containerd


def limit(ctr, container, *files):
    """What a container's cgroup says, in the first of these files that is there: cgroup v1 and v2 have different ones."""
    for file in files:
        directory, _, name = file.rpartition("/")
        place = pathlib.Path("/sys/fs/cgroup") / directory / "default" / container / name
        if place.exists():
            return place.read_text().strip()
    raise Mismatch(f"{container}: none of {files} is there")


@containerd.check
def limits_are_put_on(ctr):
    container = ctr.begin("sleep", "100", options=("--memory-limit", str(64 << 20), "--cpus", "0.5"))
    expect(limit(ctr, container, "memory/memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
    expect(limit(ctr, container, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "50000", "quota")


@containerd.check
def shares_and_quota_are_put_on(ctr):
    container = ctr.begin("sleep", "100", options=("--cpu-quota", "20000", "--cpu-period", "50000"))
    expect(limit(ctr, container, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "20000", "quota")
    container = ctr.begin("sleep", "100", options=("--cpu-shares", "512"))
    expect(limit(ctr, container, "cpu/cpu.shares", "cpu.weight") in ("512", "20"), True, "shares")


@containerd.check
def a_cgroup_by_name(ctr):
    container = ctr.begin("sleep", "100", options=("--cgroup", "/default/named"))
    with open(f"/proc/{ctr.task(container)[0]}/cgroup", encoding="ascii") as file:
        expect_match(r"(?m)memory:/default/named$|^0::/default/named$", file.read(), "cgroups")


@containerd.check
def too_much_memory_ends_with_137(ctr):
    ctr.run("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", options=("--memory-limit", str(32 << 20))).exits(137)


@containerd.check
def metrics_count(ctr):
    container = ctr.begin("sh", "-c", "sleep 100 & sleep 100 & wait", options=("--memory-limit", str(64 << 20)))
    until(lambda: metrics(ctr, container)["pids"]["current"] == 3, "three processes")
    expect(metrics(ctr, container)["memory"]["usage"]["limit"], 64 << 20, "the limit of memory")
    expect(metrics(ctr, container)["cpu"]["usage"]["total"] > 0, True, "time")


def metrics(ctr, container):
    said = json.loads(ctr.ok("tasks", "metrics", "--format", "json", container))
    # numbers are left out when they are zero, and have different places on cgroup v2
    return {"pids": {"current": 0}, **said}
