"""Limits, their changes, and what is counted."""

import pathlib

from ..commands import Mismatch, expect, expect_match, until
from .engine import cri


def limit(container, *files):
    """What a container's cgroup says, in the first of these files that is there: cgroup v1 and v2 have different ones."""
    for line in pathlib.Path(f"/proc/{container.process()}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for file in files:
            directory, _, name = file.rpartition("/")
            place = pathlib.Path("/sys/fs/cgroup") / directory / path.lstrip("/") / name
            if directory in controllers.split(",") and place.exists():
                return place.read_text().strip()
    raise Mismatch(f"{container.id}: none of {files} is there")


@cri.check
def limits_are_put_on(cri):
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512, "cpuset_cpus": "0", "oom_score_adj": 500}
    container = cri.pod().start("sleep", "1000", linux={"resources": resources})
    expect(limit(container, "memory/memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
    expect(limit(container, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "50000", "quota")
    expect(limit(container, "cpuset/cpuset.cpus", "cpuset.cpus"), "0", "processors")
    expect(limit(container, "cpu/cpu.shares", "cpu.weight") in ("512", "20"), True, "shares")
    expect(pathlib.Path(f"/proc/{container.process()}/oom_score_adj").read_text(), "500\n", "the order of killing")


@cri.check
def limits_are_changed_while_it_runs(cri):
    container = cri.pod().start("sleep", "1000", linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
    container.ask("UpdateContainerResources", linux={"memory_limit_in_bytes": 96 << 20, "cpu_period": 100000, "cpu_quota": 25000})
    expect(limit(container, "memory/memory.limit_in_bytes", "memory.max"), str(96 << 20), "memory")
    expect(limit(container, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0], "25000", "quota")


@cri.check
def limits_are_changed_before_the_start(cri):
    container = cri.pod().create("sleep", "1000", linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
    container.ask("UpdateContainerResources", linux={"memory_limit_in_bytes": 96 << 20})
    container.start()
    expect(limit(container, "memory/memory.limit_in_bytes", "memory.max"), str(96 << 20), "memory")


@cri.check
def a_parent_cgroup_is_used(cri):
    pod = cri.pod(linux={"cgroup_parent": "/k8s.io/pods/one"})
    container = pod.start("sleep", "1000")
    cgroups = pathlib.Path(f"/proc/{container.process()}/cgroup").read_text()
    expect_match(rf"(?m)memory:/k8s.io/pods/one/{container.id}$|^0::/k8s.io/pods/one/{container.id}$", cgroups, "cgroups")


@cri.check
def too_much_memory_is_told(cri):
    container = cri.pod().start("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", linux={"resources": {"memory_limit_in_bytes": 32 << 20}})
    status = container.end()
    expect((status["exit_code"], status["reason"]), (137, "OOMKilled"), "end")


@cri.check
def stats_count(cri):
    container = cri.pod().start("sh", "-c", "head -c 3000000 /dev/urandom >/written; sleep 1000")
    until(lambda: int(stats(container)["cpu"]["usage_core_nano_seconds"]["value"]) > 0, "time")
    expect(int(stats(container)["memory"]["working_set_bytes"]["value"]) > 0, True, "memory")
    # the service looks at snapshots every ten seconds
    until(lambda: int(stats(container)["writable_layer"]["used_bytes"]["value"]) >= 3_000_000, "what was written", limit=30)


def stats(container):
    return container.ask("ContainerStats")["stats"]
