"""Tasks outlive the daemon, and the daemon clears up after a shim that was killed."""

import os
import signal

from ..commands import expect, until
from .engine import containerd
from .life import alive


@containerd.check
def a_task_outlives_the_daemon(ctr):
    container, log = ctr.logged("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: log.exists() and "ready" in log.read_text(), "the trap")
    pid = ctr.task(container)[0]
    ctr.stop_daemon()
    expect(alive(pid), True, "the process lives")
    ctr.start_daemon()
    expect(ctr.task(container), (pid, "RUNNING"), "the task")
    ctr.exec(container, "echo", "here").ok().prints("here")
    ctr.ok("tasks", "kill", container)
    expect(ctr.end(container), 5, "exit status")


@containerd.check
def a_killed_shim_is_cleared_up_after(ctr):
    container = ctr.begin("sleep", "100")
    pid = ctr.task(container)[0]
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        shim = int(file.read().rpartition(")")[2].split()[1])
    with open(f"/proc/{shim}/comm", encoding="ascii") as file:
        expect(file.read().strip(), "containerd-shim", "the parent")
    os.kill(shim, signal.SIGKILL)
    until(lambda: not alive(pid), "the end of the process")
    until(lambda: ctr.task(container) is None or ctr.task(container)[1] == "STOPPED", "the end of the task")
