"""Limits, and what is told about them; the health of a container."""

import json
import pathlib

from ..commands import expect, expect_match, until
from ..harness import Skip
from .engine import BUSYBOX, STAY, podman

CGROUPS = pathlib.Path("/sys/fs/cgroup")


def limit(podman, container, controller, file):
    """What is in a file of the container's own cgroup."""
    process = podman.inspect(container, "{{.State.Pid}}")
    lines = pathlib.Path(f"/proc/{process}/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if controller in line.split(":")[1].split(","))
    return (CGROUPS / controller / path.lstrip("/") / file).read_text().strip()


@podman.check
def limits_are_in_the_containers_cgroups(podman):
    container = podman.detached(
        "--memory=64m", "--memory-reservation=32m", "--pids-limit=77", "--cpus=0.5", "--cpu-shares=512", "--cpuset-cpus=0", BUSYBOX, *STAY
    )
    for controller, file, wanted in (
        ("memory", "memory.limit_in_bytes", "67108864"), ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("pids", "pids.max", "77"), ("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.cfs_period_us", "100000"),
        ("cpu", "cpu.shares", "512"), ("cpuset", "cpuset.cpus", "0"),
    ):
        expect(limit(podman, container, controller, file), wanted, file)


@podman.check
def limits_are_seen_inside(podman):
    podman.run("--memory=48m", BUSYBOX, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes").ok().prints("50331648")
    podman.run("--cpuset-cpus=1", BUSYBOX, "grep", "Cpus_allowed_list", "/proc/self/status").ok().prints("Cpus_allowed_list:\t1")


@podman.check
def limits_are_changed_while_it_runs(podman):
    container = podman.detached("--memory=64m", "--cpus=0.5", BUSYBOX, *STAY)
    podman.ok("update", "--memory=96m", "--memory-swap=96m", "--cpus=0.25", "--cpu-shares=333", container)
    for controller, file, wanted in (
        ("memory", "memory.limit_in_bytes", "100663296"), ("cpu", "cpu.cfs_quota_us", "25000"), ("cpu", "cpu.shares", "333"),
    ):
        expect(limit(podman, container, controller, file), wanted, file)


@podman.check
def a_limit_of_processes_is_in_force(podman):
    podman.run("--pids-limit=5", BUSYBOX, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait").complains("can't fork|resource temporarily unavailable")


@podman.check
def too_much_memory_ends_it(podman):
    podman.run("--memory=16m", "--memory-swap=16m", BUSYBOX, "tail", "/dev/zero").exits(137)


@podman.check
def the_engine_learns_why_too_much_memory_ended_it(podman):
    container = podman.detached("--memory=16m", "--memory-swap=16m", BUSYBOX, "sh", "-c", "sh -c 'tail /dev/zero'; sleep 1; exit 3")
    expect(podman.ok("wait", container), "3", "its status")
    expect(podman.inspect(container, "{{.State.OOMKilled}}"), "true", "OOMKilled")


@podman.check
def a_cgroup_of_ones_own_choice(podman):
    container = podman.detached("--cgroup-parent=/chosen", BUSYBOX, *STAY)
    process = podman.inspect(container, "{{.State.Pid}}")
    expect_match("^/chosen/", pathlib.Path(f"/proc/{process}/cgroup").read_text().split(":memory:")[1].splitlines()[0], "its memory cgroup")


@podman.check
def stats_count_what_it_uses(podman):
    container = podman.detached("--memory=64m", BUSYBOX, "sh", "-c", "while :; do :; done")
    until(lambda: float(json.loads(podman.ok("stats", "--no-stream", "--format=json", container))[0]["cpu_percent"].rstrip("%")) > 1, "processor time")
    told = json.loads(podman.ok("stats", "--no-stream", "--format=json", container))[0]
    expect_match(r"/ 67\.1\d*MB", told["mem_usage"], "memory and its limit")
    expect(int(told["pids"]) >= 1, True, "processes are counted")


@podman.check
def health_is_checked(podman):
    container = podman.detached("--health-cmd", "test -e /tmp/well", "--health-interval=disable", "--health-retries=1", BUSYBOX, *STAY)
    podman.call("healthcheck", "run", container).exits(1)
    until(lambda: podman.inspect(container, "{{.State.Health.Status}}") == "unhealthy", "it is unhealthy")
    podman.ok("exec", container, "touch", "/tmp/well")
    podman.call("healthcheck", "run", container).ok()
    until(lambda: podman.inspect(container, "{{.State.Health.Status}}") == "healthy", "it is healthy")


@podman.check
def a_checkpoint_is_taken_and_restored(podman):
    raise Skip("criu of Debian 12 does not work on this machine's kernel")
