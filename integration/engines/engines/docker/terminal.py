"""Terminals: run, exec and attach with one, and the sizes they have."""

from ..commands import expect, until
from .engine import BUSYBOX, docker


@docker.check
def run_with_a_terminal(docker):
    with docker.terminal("run", "--rm", "--tty", "--interactive", BUSYBOX, "sh") as terminal:
        terminal.await_text("# ")
        terminal.send("tty; exit 5\n")
        terminal.await_text("/dev/pts/0")
        expect(terminal.wait(), 5, "status")


@docker.check
def a_terminal_has_the_size_of_the_clients(docker):
    with docker.terminal("run", "--rm", "--tty", "--interactive", BUSYBOX, "sh", size=(33, 99)) as terminal:
        terminal.await_text("# ")
        # the client sends its size after the start
        terminal.send("until stty size | grep -q '33 99'; do sleep 0.1; done; echo as expect''ed; exit\n")
        terminal.await_text("as expected")
        expect(terminal.wait(), 0, "status")


@docker.check
def exec_with_a_terminal(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    with docker.terminal("exec", "--tty", "--interactive", container, "sh") as terminal:
        terminal.await_text("# ")
        terminal.send("test -t 0 && echo it is a termi''nal; exit 6\n")
        terminal.await_text("it is a terminal")
        expect(terminal.wait(), 6, "status")


@docker.check
def exec_with_a_terminal_as_a_user(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    with docker.terminal("exec", "--tty", "--user", "app", container, "sh", "-c", "echo >/dev/tty && id -un") as terminal:
        terminal.await_text("app")
        expect(terminal.wait(), 0, "status")


@docker.check
def attach_talks_to_a_running_container(docker):
    container = docker.begin("--interactive", BUSYBOX, "sh", "-c", 'read line; echo "heard $line"; exit 3')
    with docker.terminal("attach", container) as terminal:
        terminal.send("hello\n")
        terminal.await_text("heard hello")
        expect(terminal.wait(), 3, "status")


@docker.check
def attach_to_a_terminal_and_leave_it(docker):
    container = docker.begin("--interactive", "--tty", BUSYBOX, "sh")
    with docker.terminal("attach", container) as terminal:
        terminal.send("echo on the termi''nal\n")
        terminal.await_text("on the terminal")
        terminal.send("\x10\x11")
        terminal.wait()
    expect(docker.inspect(container, "{{.State.Running}}"), "true", "running")


@docker.check
def interrupt_on_a_terminal_reaches_the_program(docker):
    with docker.terminal("run", "--rm", "--tty", "--interactive", BUSYBOX, "sh", "-c", "trap 'exit 44' INT; echo ready; while :; do sleep 0.1; done") as terminal:
        terminal.await_text("ready")
        terminal.send("\x03")
        expect(terminal.wait(), 44, "status")


@docker.check
def a_terminal_in_the_background_logs(docker):
    container = docker.begin("--tty", BUSYBOX, "sh", "-c", "test -t 1 && echo a terminal")
    docker.status(container, "exited")
    until(lambda: docker.logs(container)[0] == "a terminal\r\n", "logs")
