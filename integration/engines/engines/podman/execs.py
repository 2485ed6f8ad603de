"""exec, terminals, descriptors."""

import pathlib
import re

from ..commands import call, expect, expect_match, until
from .engine import BUSYBOX, STAY, podman, rootless


@rootless.check
@podman.check
def exec_prints_and_exits_like_the_command(podman):
    container = podman.detached(BUSYBOX, *STAY)
    finished = podman.call("exec", container, "sh", "-c", "echo out; echo err >&2; exit 9").exits(9)
    expect((finished.output, finished.errors.splitlines()[0]), ("out\n", "err"), "its output")


@rootless.check
@podman.check
def exec_of_what_is_not_there_gives_127_and_126(podman):
    container = podman.detached(BUSYBOX, *STAY)
    podman.call("exec", container, "no-such-command").exits(127).complains(r"executable file .*not found in \$PATH")
    podman.call("exec", container, "/no/such/file").exits(127).complains("no such file or directory")
    podman.call("exec", container, "/etc/passwd").exits(126).complains("permission denied")


@rootless.check
@podman.check
def exec_as_another_user(podman):
    container = podman.detached(BUSYBOX, *STAY)
    expect_match(r"^uid=1000\(app\) gid=1000\(app\) groups=(1000\(app\),)?2000\(extra\)$", podman.ok("exec", "--user", "app", container, "id"), "id of app")
    expect(podman.ok("exec", "--user", "33:44", container, "sh", "-c", "id -u; id -g"), "33\n44", "id of 33:44")


@podman.check
def exec_with_its_own_directory_and_environment(podman):
    container = podman.detached("--env", "A=container", "--workdir", "/tmp", BUSYBOX, *STAY)
    expect(podman.ok("exec", container, "sh", "-c", "echo $A; pwd"), "container\n/tmp", "the container's")
    expect(podman.ok("exec", "--env", "A=exec", "--workdir", "/etc", container, "sh", "-c", "echo $A; pwd"), "exec\n/etc", "its own")


@podman.check
def exec_takes_standard_input(podman):
    container = podman.detached(BUSYBOX, *STAY)
    podman.call("exec", "--interactive", container, "wc", "-c", input="y" * 500_000).ok().prints("500000")


@podman.check
def a_lot_of_output_of_exec_is_whole(podman):
    container = podman.detached(BUSYBOX, *STAY)
    expect(len(podman.call("exec", container, "sh", "-c", "yes 0123456789 | head -n 200000").ok().output), 2_200_000, "bytes of output")


@podman.check
def exec_detached_runs_on(podman):
    container = podman.detached(BUSYBOX, *STAY)
    podman.ok("exec", "--detach", container, "sh", "-c", "sleep 0.3; echo done >/tmp/done")
    until(lambda: podman.call("exec", container, "cat", "/tmp/done").output == "done\n", "what it wrote")


@podman.check
def exec_is_in_the_containers_namespaces_and_cgroups(podman):
    container = podman.detached("--cgroupns=host", BUSYBOX, *STAY)
    for namespace in ("mnt", "pid", "net", "ipc", "uts"):
        saw = [podman.ok("exec", container, "readlink", f"/proc/{process}/ns/{namespace}") for process in ("self", "1")]
        expect(*saw, f"the {namespace} namespace of exec")
    saw = [podman.ok("exec", container, "grep", "-E", ":(memory|pids|devices|freezer):", f"/proc/{process}/cgroup") for process in ("self", "1")]
    expect(*saw, "the cgroups of exec")


@podman.check
def exec_has_no_more_rights_than_the_container(podman):
    container = podman.detached("--cap-drop=CHOWN", BUSYBOX, *STAY)
    status = "grep -E '^(Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp):' /proc/{}/status"
    expect(podman.ok("exec", container, "sh", "-c", status.format("self")), podman.ok("exec", container, "sh", "-c", status.format("1")), "rights of exec")
    podman.call("exec", container, "chown", "1:1", "/tmp").exits(1)
    # all that podman itself has
    own = pathlib.Path("/proc/self/status").read_text()
    full = podman.ok("exec", "--privileged", container, "cat", "/proc/self/status")
    expect(*(re.search(r"CapEff:\s+(\S+)", text).group(1) for text in (full, own)), "capabilities of exec --privileged")


@podman.check
def what_exec_started_ends_with_the_container(podman):
    container = podman.detached(BUSYBOX, *STAY)
    podman.ok("exec", "--detach", container, "sleep", "300")
    until(lambda: "sleep 300" in podman.ok("top", container, "args"), "it runs")
    podman.ok("stop", container)
    expect(podman.inspect(container, "{{.State.Status}}"), "exited", "its state")


@rootless.check
@podman.check
def run_on_a_terminal(podman):
    with podman.terminal("run", "--rm", "--interactive", "--tty", BUSYBOX, "sh", size=(33, 99)) as terminal:
        terminal.await_text("# ")
        terminal.send("tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all\n")
        terminal.await_text(r"/dev/pts/0\s+33 99\s+all")
        terminal.send("exit 11\n")
        expect(terminal.wait(), 11, "its status")


@rootless.check
@podman.check
def exec_on_a_terminal(podman):
    container = podman.detached(BUSYBOX, *STAY)
    with podman.terminal("exec", "--interactive", "--tty", container, "sh", size=(31, 77)) as terminal:
        terminal.await_text("# ")
        terminal.send("tty; stty size\n")
        terminal.await_text(r"/dev/pts/0\s+31 77")
        terminal.send("exit 12\n")
        expect(terminal.wait(), 12, "its status")


@podman.check
def a_terminal_without_a_client(podman):
    container = podman.detached("--tty", BUSYBOX, "sh", "-c", "tty; test -t 1 && echo yes")
    expect(podman.ok("wait", container), "0", "its status")
    expect(podman.logs(container).split(), ["/dev/pts/0", "yes"], "its output")


@podman.check
def interrupt_on_the_terminal_reaches_the_program(podman):
    with podman.terminal("run", "--rm", "--interactive", "--tty", BUSYBOX, "sh", "-c", "trap 'exit 22' INT; echo ready; while :; do sleep 0.1; done") as terminal:
        terminal.await_text("ready")
        terminal.send("\x03")
        expect(terminal.wait(), 22, "its status")


@podman.check
def detach_keys_leave_it_running(podman):
    with podman.terminal("run", "--interactive", "--tty", "--name", podman.unique, BUSYBOX, "sh") as terminal:
        terminal.await_text("# ")
        terminal.send("echo $((40+2))\n")
        terminal.await_text("42")
        terminal.type("\x10\x11")
        expect(terminal.wait(), 0, "status of the client that left")
    expect(podman.inspect(podman.unique, "{{.State.Running}}"), "true", "running")
    with podman.terminal("attach", podman.unique) as terminal:
        terminal.send("\n")
        terminal.await_text("# ")
        terminal.send("exit 13\n")
        terminal.wait()
    expect(podman.inspect(podman.unique, "{{.State.ExitCode}}"), "13", "its status after attaching again")


@podman.check
def detach_keys_of_ones_own(podman):
    with podman.terminal("run", "--interactive", "--tty", "--detach-keys=ctrl-x,x", "--name", podman.unique, BUSYBOX, "sh") as terminal:
        terminal.await_text("# ")
        terminal.type("\x18x")
        expect(terminal.wait(), 0, "status of the client that left")
    expect(podman.inspect(podman.unique, "{{.State.Running}}"), "true", "running")


@podman.check
def the_terminals_size_can_change(podman):
    with podman.terminal("run", "--rm", "--interactive", "--tty", BUSYBOX, "sh", size=(20, 40)) as terminal:
        terminal.await_text("# ")
        terminal.resize(50, 120)
        until(lambda: (terminal.send("stty size\n"), terminal.await_text(r"\n(\d+ \d+)").group(1))[1] == "50 120", "the new size")
        terminal.send("exit 0\n")
        expect(terminal.wait(), 0, "its status")


@podman.check
def preserve_fds_hands_on_just_those(podman):
    script = "echo to three >&3; echo to four >&4; test -e /proc/self/fd/5 || echo closed"
    words = [*podman.command, "run", "--rm", "--preserve-fds=2", BUSYBOX, "sh", "-c", script]
    opened = ["sh", "-c", 'exec 3>three 4>four 5>five; exec "$@"', "sh", *words]
    call(opened, environment=podman.environment, directory=podman.scratch).ok().prints("closed")
    for name in ("three", "four"):
        expect((podman.scratch / name).read_text(), f"to {name}\n", "what came through")


@podman.check
def no_descriptor_of_the_engine_is_open_inside(podman):
    container = podman.detached(BUSYBOX, "sleep", "100")
    expect(podman.ok("exec", container, "ls", "/proc/1/fd").split(), ["0", "1", "2"], "descriptors of process 1")
    # ls itself opens the directory
    expect(podman.ok("exec", container, "ls", "/proc/self/fd").split(), ["0", "1", "2", "3"], "descriptors of exec")
