"""Limits: what is set, changed, counted and overrun."""

import json
import time

from ..commands import expect, expect_match, until
from .engine import BUSYBOX, docker

# the control file of a setting on cgroup v1, and on v2
FILES = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "processes": ("pids/pids.max", "pids.max"),
    "processors": ("cpuset/cpuset.cpus", "cpuset.cpus"),
    "quota": ("cpu/cpu.cfs_quota_us", "cpu.max"),
}
EATER = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")


def limit(docker, container, setting):
    """What a container's cgroup says of a setting."""
    one, two = FILES[setting]
    return docker.ok("exec", container, "sh", "-c", f"cat /sys/fs/cgroup/{one} 2>/dev/null || cat /sys/fs/cgroup/{two}")


@docker.check
def limits_are_put_on(docker):
    container = docker.begin("--memory", "64m", "--pids-limit", "55", "--cpus", "0.5", "--cpuset-cpus", "0", BUSYBOX, "sleep", "100")
    expect(limit(docker, container, "memory"), str(64 << 20), "memory")
    expect(limit(docker, container, "processes"), "55", "processes")
    expect(limit(docker, container, "quota").split()[0], "50000", "quota")
    expect(limit(docker, container, "processors"), "0", "processors")


@docker.check
def limits_are_changed_while_it_runs(docker):
    container = docker.begin("--memory", "64m", "--memory-swap", "64m", "--pids-limit", "55", BUSYBOX, "sleep", "100")
    docker.ok("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "66", "--cpus", "0.25", container)
    expect(limit(docker, container, "memory"), str(96 << 20), "memory")
    expect(limit(docker, container, "processes"), "66", "processes")
    expect(limit(docker, container, "quota").split()[0], "25000", "quota")


@docker.check
def what_is_changed_survives_a_restart(docker):
    container = docker.begin("--memory", "64m", "--memory-swap", "64m", BUSYBOX, "sleep", "100")
    docker.ok("update", "--memory", "96m", "--memory-swap", "96m", container)
    docker.ok("restart", "--time", "0", container)
    expect(limit(docker, container, "memory"), str(96 << 20), "memory")


@docker.check
def too_much_memory_is_told(docker):
    began = time.time()
    docker.call("run", "--name", docker.unique, "--memory", "16m", "--memory-swap", "16m", BUSYBOX, *EATER).exits(137)
    expect(docker.inspect(docker.unique, "{{.State.OOMKilled}}"), "true", "OOMKilled")
    until(lambda: "oom" in docker.ok("events", "--since", f"{began:.3f}", "--until", f"{time.time():.3f}",
                                     "--filter", f"container={docker.unique}", "--format", "{{.Action}}").split(), "the event")


@docker.check
def too_much_memory_of_an_exec_ends_the_exec(docker):
    container = docker.begin("--memory", "32m", "--memory-swap", "32m", BUSYBOX, "sleep", "100")
    docker.call("exec", container, *EATER).exits(137)
    expect(docker.inspect(container, "{{.State.Running}}"), "true", "running")


@docker.check
def too_many_processes_are_refused(docker):
    said = docker.run("--pids-limit", "10", BUSYBOX, "sh", "-c", "for i in $(seq 20); do sleep 1 & done; wait")
    said.complains("can't fork|resource temporarily unavailable")


@docker.check
def stats_count(docker):
    container = docker.begin("--memory", "64m", BUSYBOX, "sh", "-c", "sleep 100 & sleep 100 & wait")
    until(lambda: docker.ok("top", container).count("sleep 100") >= 3, "the processes")
    told = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", container))
    expect(told["PIDs"], "3", "processes")
    expect_match(r"^[1-9.][0-9.]*[KM]iB / 64MiB$", told["MemUsage"], "memory")


@docker.check
def limits_of_processes_are_set(docker):
    docker.run("--ulimit", "nofile=100:200", "--ulimit", "core=0", BUSYBOX, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c").ok().prints("100\n200\n0")


@docker.check
def limits_of_processes_hold_for_exec(docker):
    container = docker.begin("--ulimit", "nofile=100:200", BUSYBOX, "sleep", "100")
    docker.call("exec", container, "sh", "-c", "ulimit -n; ulimit -Hn").ok().prints("100\n200")


@docker.check
def the_order_of_killing_is_set(docker):
    docker.run("--oom-score-adj", "500", BUSYBOX, "cat", "/proc/self/oom_score_adj").ok().prints("500")


@docker.check
def an_order_of_killing_below_ones_own_is_refused(docker):
    if docker.run("--runtime", "yardstick", "--oom-score-adj", "-500", BUSYBOX, "true").status == 0:
        docker.run("--oom-score-adj", "-500", BUSYBOX, "cat", "/proc/self/oom_score_adj").ok().prints("-500")
    else:
        failed = docker.run("--oom-score-adj", "-500", BUSYBOX, "true").complains("OCI runtime create failed")
        expect(failed.status in (125, 126), True, f"status {failed.status}")


@docker.check
def settings_of_the_kernel_are_set(docker):
    docker.run("--sysctl", "net.ipv4.ip_forward=1", "--sysctl", "kernel.msgmax=12345", BUSYBOX, "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax").ok().prints("1\n12345")


@docker.check
def a_parent_cgroup_is_used(docker):
    container = docker.begin("--cgroup-parent", "/docker/parent", BUSYBOX, "sleep", "100")
    pid = docker.inspect(container, "{{.State.Pid}}")
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        expect_match(rf"(?m)memory:/docker/parent/{container}$|^0::/docker/parent/{container}$", file.read(), "cgroups")
