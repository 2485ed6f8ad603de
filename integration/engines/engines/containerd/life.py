"""From run to delete: output, exit statuses, signals, pause."""

import base64
import json
import time

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, STATE, containerd


@containerd.check
def run_keeps_output_and_errors_apart(ctr):
    said = ctr.run("sh", "-c", "echo out; echo err >&2").ok().prints("out")
    expect(said.errors.strip(), "err", "standard error")


@containerd.check
def the_exit_status_is_the_programs(ctr):
    ctr.run("sh", "-c", "exit 7").exits(7)


@containerd.check
def an_unknown_command_is_told(ctr):
    ctr.run("nosuchcommand").exits(1).complains(r'exec: \\?"nosuchcommand\\?": executable file not found in \$PATH')


@containerd.check
def an_unknown_path_is_told(ctr):
    ctr.run("/no/such/file").exits(1).complains("no such file or directory")


@containerd.check
def a_file_that_is_no_program_is_told(ctr):
    ctr.run("/etc/passwd").exits(1).complains("permission denied")


@containerd.check
def standard_input_arrives_whole(ctr):
    ctr.run("wc", "-c", input="x" * 300_000).ok().prints("300000")


@containerd.check
def a_great_deal_of_output_is_complete(ctr):
    said = ctr.run("sh", "-c", "yes 0123456789abcde | head -c 8000000; exit 9").exits(9)
    expect(len(said.output), 8_000_000, "bytes")


@containerd.check
def without_input_and_output(ctr):
    ctr.run("sh", "-c", "echo nobody hears >&2 && echo this && ls -d / && exit 6", options=("--null-io",)).exits(6).prints("")


@containerd.check
def a_task_in_the_background_has_a_log(ctr):
    container, log = ctr.logged("sh", "-c", "echo out; echo err >&2; exit 3")
    expect(ctr.end(container), 3, "exit status")
    until(lambda: sorted(log.read_text().split()) == ["err", "out"], "the log")


@containerd.check
def fifos_lie_where_they_are_asked_for(ctr):
    container = ctr.begin("sleep", "100", options=("--fifo-dir", ctr.scratch))
    expect(any(ctr.scratch.rglob(f"{container}-stdout")), True, "a fifo for standard output")


@containerd.check
def a_task_in_the_background_is_listed(ctr):
    container = ctr.begin("sleep", "100", options=("--pid-file", ctr.scratch / "pid"))
    pid, status = ctr.task(container)
    expect((str(pid), status), ((ctr.scratch / "pid").read_text(), "RUNNING"), "the task")


@containerd.check
def a_signal_is_heard(ctr):
    container, log = ctr.logged("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: log.exists() and "ready" in log.read_text(), "the trap")
    ctr.ok("tasks", "kill", container)
    expect(ctr.end(container), 5, "exit status")


@containerd.check
def a_kill_is_137(ctr):
    container = ctr.begin("sleep", "100")
    ctr.ok("tasks", "kill", "--signal", "SIGKILL", container)
    expect(ctr.end(container), 137, "exit status")


@containerd.check
def a_kill_of_all_reaches_every_process(ctr):
    container = ctr.begin("sh", "-c", "sleep 1000 & wait")
    until(lambda: len(processes(ctr, container)) == 2, "both processes")
    pids = processes(ctr, container)
    ctr.ok("tasks", "kill", "--all", "--signal", "SIGKILL", container)
    ctr.end(container)
    expect([pid for pid in pids if alive(pid)], [], "processes that are left")


@containerd.check
def delete_by_force_ends_a_task(ctr):
    container = ctr.begin("sleep", "100")
    pid, _ = ctr.task(container)
    ctr.call("tasks", "delete", "--force", container)
    expect((ctr.task(container), alive(pid)), (None, False), "the task")


@containerd.check
def a_running_task_is_not_deleted(ctr):
    container = ctr.begin("sleep", "100")
    ctr.call("tasks", "delete", container).exits(1).complains("running")
    expect(ctr.task(container)[1], "RUNNING", "status")


@containerd.check
def pause_stands_still_and_resume_goes_on(ctr):
    container = ctr.begin("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >/count/n; sleep 0.02; done",
                          options=("--mount", f"type=bind,src={ctr.scratch},dst=/count,options=rbind:rw"))

    def count():
        file = ctr.scratch / "n"
        return file.read_text() if file.exists() else ""

    until(count, "the count")
    ctr.ok("tasks", "pause", container)
    expect(ctr.task(container)[1], "PAUSED", "status")
    before = count()
    time.sleep(0.3)
    expect(count(), before, "the count of a paused task")
    ctr.ok("tasks", "resume", container)
    expect(ctr.task(container)[1], "RUNNING", "status")
    until(lambda: count() not in ("", before), "the count goes on")


@containerd.check
def a_container_starts_again_and_sees_what_was_written(ctr):
    container = ctr.begin("sh", "-c", "echo x >>/written; cat /written; exit 4", options=("--null-io",))
    expect(ctr.end(container), 4, "exit status")
    for times in (2, 3):
        ctr.call("tasks", "start", container).exits(4).prints("\n".join("x" * times))
        ctr.call("tasks", "delete", container)


@containerd.check
def attach_talks_to_a_running_task(ctr):
    container = ctr.begin("sh", "-c", 'while read line; do echo "heard $line"; done')
    with ctr.terminal("tasks", "attach", container) as terminal:
        terminal.send("hello\n")
        terminal.await_text("heard hello")


@containerd.check
def run_with_a_terminal(ctr):
    with ctr.terminal("run", "--rm", "--tty", "--runc-binary", ctr.runtime.path, BUSYBOX, ctr.name(), "sh", size=(33, 99)) as terminal:
        terminal.await_text("# ")
        terminal.send("tty; until stty size | grep -q '33 99'; do sleep 0.1; done; echo as expect''ed; exit 5\n")
        terminal.await_text("/dev/pts/0")
        terminal.await_text("as expected")
        expect(terminal.wait(), 5, "status")


@containerd.check
def a_failed_create_leaves_no_task(ctr):
    ctr.run("true", options=("--cwd", "/etc/passwd")).exits(1).complains("not a directory")
    expect((ctr.ok("tasks", "list", "--quiet"), ctr.ok("containers", "list", "--quiet")), ("", ""), "tasks and containers")
    expect([path.name for path in (STATE / "default").iterdir()], [], "bundles")


@containerd.check
def ten_tasks_at_once(ctr):
    containers = [ctr.begin("sh", "-c", f"sleep 1; exit {number}") for number in range(10)]
    expect([ctr.end(container) for container in containers], list(range(10)), "exit statuses")


@containerd.check
def labels_are_kept(ctr):
    container = ctr.begin("sleep", "100", options=("--label", "one=two"))
    said = ctr.ok("containers", "info", container)
    expect_match(r'"one":\s*"two"', said, "labels")
    options = base64.b64decode(json.loads(said)["Runtime"]["Options"]["value"])
    expect_in(str(ctr.runtime.path), options.decode(), "the runtime's options")


@containerd.check
def annotations_reach_the_runtime(ctr):
    container = ctr.begin("sleep", "100", options=("--annotation", "dev.fragment.compose=off", "--annotation", "other=too"))
    expect(ctr.bundle(container)["annotations"], {"dev.fragment.compose": "off", "other": "too"}, "annotations")


@containerd.check
def a_configuration_of_ones_own(ctr):
    config = ctr.scratch / "config.json"
    config.write_text("""{"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "hostname": "own",
      "process": {"cwd": "/tmp", "args": ["sh", "-c", "hostname; pwd; id -u; id -G"], "env": ["PATH=/bin"], "user": {"uid": 1000, "gid": 1000, "additionalGids": [2000]}},
      "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
      "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]}}""")
    # the image is mounted by hand: with a configuration of its own ctr takes none
    ctr.ok("images", "mount", "--rw", BUSYBOX, "/mnt")
    try:
        config.write_text(config.read_text().replace('"rootfs"', '"/mnt"'))
        ctr.call("run", "--rm", "--runc-binary", ctr.runtime.path, "--config", config, ctr.name()).ok().prints("own\n/tmp\n1000\n1000 2000")
    finally:
        ctr.ok("images", "unmount", "--rm", "/mnt")


def processes(ctr, container):
    """Process numbers of a task."""
    return [int(line.split()[0]) for line in ctr.ok("tasks", "ps", container).splitlines()[1:]]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
