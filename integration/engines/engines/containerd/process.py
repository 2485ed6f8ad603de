"""Processes: exec, namespaces, environment."""

import json
import os

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, DEBIAN, containerd
from .life import processes

IDS = "id -u; id -g"


@containerd.check
def exec_prints_and_returns_a_status(ctr):
    container = ctr.begin("sleep", "100")
    said = ctr.exec(container, "sh", "-c", "echo out; echo err >&2; exit 9").exits(9).prints("out")
    expect(said.errors.strip(), "err", "standard error")


@containerd.check
def exec_reads_standard_input(ctr):
    container = ctr.begin("sleep", "100")
    ctr.exec(container, "wc", "-c", input="x" * 300_000).ok().prints("300000")


@containerd.check
def exec_of_an_unknown_command_is_told(ctr):
    container = ctr.begin("sleep", "100")
    ctr.exec(container, "nosuchcommand").exits(1).complains(r'exec: \\?"nosuchcommand\\?": executable file not found in \$PATH')
    expect(ctr.task(container)[1], "RUNNING", "status")


@containerd.check
def exec_takes_user_and_directory(ctr):
    container = ctr.begin("sleep", "100")
    ctr.exec(container, "sh", "-c", IDS + "; pwd", options=("--user", "1000:2000", "--cwd", "/var/tmp")).ok().prints("1000\n2000\n/var/tmp")
    ctr.exec(container, "sh", "-c", IDS, options=("--user", "app")).ok().prints("1000\n1000")


@containerd.check
def exec_with_a_terminal(ctr):
    container = ctr.begin("sleep", "100")
    with ctr.terminal("tasks", "exec", "--tty", "--exec-id", "shell", container, "sh") as terminal:
        terminal.await_text("# ")
        terminal.send("test -t 0 && echo it is a termi''nal; exit 6\n")
        terminal.await_text("it is a terminal")
        expect(terminal.wait(), 6, "status")


@containerd.check
def exec_in_the_background_can_be_killed_alone(ctr):
    container = ctr.begin("sleep", "100")
    ctr.exec(container, "sleep", "1000", options=("--detach",)).ok()
    until(lambda: len(processes(ctr, container)) == 2, "both processes")
    name = f"exec-{next(ctr.numbers) - 1}"
    ctr.ok("tasks", "kill", "--exec-id", name, "--signal", "SIGKILL", container)
    until(lambda: len(processes(ctr, container)) == 1, "one process")
    ctr.call("tasks", "delete", "--exec-id", name, container).exits(137)


@containerd.check
def ps_lists_processes(ctr):
    container = ctr.begin("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    until(lambda: len(processes(ctr, container)) == 3, "three processes")
    expect(ctr.task(container)[0] in processes(ctr, container), True, "the first process is there")


@containerd.check
def environment_and_directory(ctr):
    file = ctr.scratch / "env"
    file.write_text("FROM_FILE=b\n")
    ctr.run("sh", "-c", 'echo "$GIVEN $FROM_FILE $PWD"', options=("--env", "GIVEN=a", "--env-file", file, "--cwd", "/var/tmp")).ok().prints("a b /var/tmp")


@containerd.check
def a_working_directory_is_made(ctr):
    ctr.run("pwd", options=("--cwd", "/new/deep")).ok().prints("/new/deep")


@containerd.check
def a_network_namespace_that_is_there(ctr):
    first = ctr.begin("sleep", "100")
    place = f"/proc/{ctr.task(first)[0]}/ns/net"
    ctr.run("readlink", "/proc/self/ns/net", options=("--with-ns", f"network:{place}")).ok().prints(os.readlink(place))


@containerd.check
def process_numbers_of_another_task(ctr):
    first = ctr.begin("sleep", "4321")
    expect_in("sleep 4321", ctr.run("ps", options=("--with-ns", f"pid:/proc/{ctr.task(first)[0]}/ns/pid")).ok().output, "processes")


@containerd.check
def memory_and_name_of_another_task(ctr):
    first = ctr.begin("sleep", "100")
    pid = ctr.task(first)[0]
    ctr.exec(first, "hostname", "renamed")
    options = ("--with-ns", f"ipc:/proc/{pid}/ns/ipc", "--with-ns", f"uts:/proc/{pid}/ns/uts")
    ctr.run("sh", "-c", "readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts", options=options).ok().prints(
        os.readlink(f"/proc/{pid}/ns/ipc") + "\n" + os.readlink(f"/proc/{pid}/ns/uts"))


@containerd.check
def the_hosts_network(ctr):
    ctr.run("readlink", "/proc/self/ns/net", options=("--net-host",)).ok().prints(os.readlink("/proc/self/ns/net"))


@containerd.check
def a_network_of_its_own_has_a_loopback_only(ctr):
    ctr.run("ls", "/sys/class/net").ok().prints("lo")


@containerd.check
def numbers_of_users_are_mapped(ctr):
    # by a configuration: with ctr's own options for it the shim runs another binary than the one that is asked for
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    config = ctr.scratch / "config.json"
    config.write_text(json.dumps({
        "ociVersion": "1.0.2", "root": {"path": "/mnt"},
        "process": {"cwd": "/", "args": ["sh", "-c", "id -u; cat /proc/self/uid_map"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network", "user")], "uidMappings": mapping, "gidMappings": mapping},
    }))
    ctr.ok("images", "mount", "--rw", BUSYBOX, "/mnt")
    try:
        said = ctr.call("run", "--rm", "--runc-binary", ctr.runtime.path, "--config", config, ctr.name()).ok().output
    finally:
        ctr.ok("images", "unmount", "--rm", "/mnt")
    expect_match(r"^0\n\s+0\s+100000\s+65536\n$", said, "user namespace")


@containerd.check
def a_whole_debian_runs(ctr):
    ctr.run("bash", "-c", "shopt -s extglob; dpkg --version | head -1; getent passwd root", image=DEBIAN).ok()
