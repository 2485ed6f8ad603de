"""A container's life: run, stop, kill, pause, restart, remove."""

import json
import signal
import subprocess
import time

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, STAY, podman, rootless


@rootless.check
@podman.check
def run_prints_what_the_program_prints(podman):
    finished = podman.run(BUSYBOX, "sh", "-c", "echo hello; echo world >&2").ok()
    expect((finished.output, finished.errors), ("hello\n", "world\n"), "standard output and standard error")


@rootless.check
@podman.check
def the_exit_status_is_the_programs(podman):
    for status in (0, 1, 7, 255):
        podman.run(BUSYBOX, "sh", "-c", f"exit {status}").exits(status)


@podman.check
def a_program_ended_by_a_signal_exits_with_128_and_its_number(podman):
    for number in (signal.SIGKILL, signal.SIGUSR1):
        container = podman.detached(BUSYBOX, "sleep", "100")
        # process 1 takes only signals it has a handler for, or SIGKILL
        if number != signal.SIGKILL:
            podman.ok("rm", "--force", "--time=0", container)
            container = podman.detached("--init", BUSYBOX, "sleep", "100")
        podman.ok("kill", "--signal", str(int(number)), container)
        expect(podman.ok("wait", container), str(128 + number), f"status after {number.name}")


@rootless.check
@podman.check
def a_command_that_is_not_there_gives_127(podman):
    podman.run(BUSYBOX, "no-such-command").exits(127).complains(r"executable file .*not found in \$PATH")
    podman.run(BUSYBOX, "/no/such/file").exits(127).complains("no such file or directory")


@rootless.check
@podman.check
def a_command_that_cannot_be_executed_gives_126(podman):
    podman.run(BUSYBOX, "/etc").exits(126).complains("permission denied|is a directory")
    podman.run(BUSYBOX, "/etc/passwd").exits(126).complains("permission denied")


@podman.check
def a_request_the_engine_refuses_gives_125(podman):
    podman.run("--no-such-flag", BUSYBOX, "true").exits(125)
    podman.run("--volume", f"{podman.scratch}/no-such-directory/x:/x", BUSYBOX, "true").exits(125)


@rootless.check
@podman.check
def a_detached_container_runs_on_and_is_listed(podman):
    container = podman.detached("--name", podman.unique, BUSYBOX, *STAY)
    expect(podman.ok("ps", "--quiet", "--no-trunc"), container, "podman ps")
    expect(podman.inspect(container, "{{.State.Status}} {{.State.Running}}"), "running true", "its state")


@podman.check
def attach_shows_the_output_and_ends_with_the_programs_status(podman):
    container = podman.ok("create", "--interactive", BUSYBOX, "sh", "-c", "read line; echo got $line; exit 5")
    podman.call("start", "--attach", "--interactive", container, input="something\n").exits(5).prints("got something")


@podman.check
def attach_to_a_running_container(podman):
    container = podman.detached("--interactive", BUSYBOX, "sh", "-c", "read line; echo got $line")
    podman.call("attach", container, input="late\n").ok().prints("got late")


@rootless.check
@podman.check
def standard_input_is_handed_on_to_its_end(podman):
    podman.run("--interactive", BUSYBOX, "sh", "-c", "cat | wc -c", input="x" * 1_000_000).ok().prints("1000000")


@podman.check
def a_lot_of_output_is_whole(podman):
    finished = podman.run(BUSYBOX, "sh", "-c", "yes 0123456789 | head -n 300000").ok()
    expect(len(finished.output), 3_300_000, "bytes of output")


@rootless.check
@podman.check
def logs_have_both_streams_and_can_be_followed(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "echo one; echo two >&2; sleep 0.5; echo three")
    expect(podman.ok("logs", "--follow", container).split(), ["one", "three"], "podman logs --follow")
    expect(podman.call("logs", "--tail=2", container).ok().errors.split(), ["two"], "standard error in the last two lines")
    expect_match(r"^\d{4}-\d\d-\d\dT\S+ one", podman.ok("logs", "--timestamps", container), "podman logs --timestamps")


@rootless.check
@podman.check
def stop_lets_the_program_end_by_itself(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in podman.logs(container), "the program is ready")
    podman.ok("stop", "--time=20", container)
    expect(podman.inspect(container, "{{.State.Status}} {{.State.ExitCode}}"), "exited 3", "its state")
    expect_in("bye", podman.logs(container), "its last words")


@podman.check
def stop_kills_after_its_timeout(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in podman.logs(container), "the program is ready")
    began = time.monotonic()
    podman.call("stop", "--time=1", container).ok()
    if time.monotonic() - began < 0.9:
        expect("at once", "after a second", "when it was killed")
    expect(podman.inspect(container, "{{.State.ExitCode}}"), "137", "its status")


@podman.check
def stop_sends_the_stop_signal(podman):
    container = podman.detached("--stop-signal", "USR2", BUSYBOX, "sh", "-c", "trap 'exit 12' USR2; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in podman.logs(container), "the program is ready")
    podman.ok("stop", "--time=20", container)
    expect(podman.inspect(container, "{{.State.ExitCode}}"), "12", "its status")


@rootless.check
@podman.check
def kill_sends_any_signal(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in podman.logs(container), "the program is ready")
    podman.ok("kill", "--signal", "USR1", container)
    until(lambda: "usr1" in podman.logs(container), "the signal arrives")
    expect(podman.inspect(container, "{{.State.Running}}"), "true", "running after USR1")
    podman.ok("kill", container)
    expect(podman.ok("wait", container), "137", "its status after podman kill")


@podman.check
def the_signal_of_the_foreground_command_reaches_the_program(podman):
    words = [*podman.command, "run", "--rm", "--name", podman.unique, BUSYBOX, "sh", "-c", "trap 'exit 21' TERM; echo ready; while :; do sleep 0.1; done"]
    with subprocess.Popen(words, env=podman.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        expect(client.stdout.readline(), b"ready\n", "its first line")
        client.send_signal(signal.SIGTERM)
        expect(client.wait(20), 21, "its status")


@podman.check
def pause_stops_it_and_unpause_lets_it_go_on(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "while :; do cut -d' ' -f1 /proc/uptime >>/count; sleep 0.05; done")
    until(lambda: podman.call("exec", container, "test", "-s", "/count").status == 0, "it counts")
    podman.ok("pause", container)
    expect(podman.inspect(container, "{{.State.Status}} {{.State.Paused}}"), "paused true", "its state")
    podman.call("exec", container, "true").exits(255).complains("container state improper")
    time.sleep(1)
    podman.ok("unpause", container)
    expect(podman.inspect(container, "{{.State.Status}}"), "running", "its state")
    stamps = [float(stamp) for stamp in podman.ok("exec", container, "cat", "/count").split()]
    if max(later - sooner for sooner, later in zip(stamps, stamps[1:])) < 0.9:
        expect("counting all the time", "a gap of a second", "while it was paused")


@podman.check
def a_paused_container_can_be_removed_by_force(podman):
    container = podman.detached(BUSYBOX, *STAY)
    podman.ok("pause", container)
    podman.ok("rm", "--force", "--time=0", container)
    expect(podman.ok("ps", "--all", "--quiet"), "", "podman ps")


@rootless.check
@podman.check
def restart_runs_it_again_and_keeps_what_it_wrote(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "echo x >>/starts; trap 'exit 0' TERM; while :; do sleep 0.1; done")
    first = podman.inspect(container, "{{.State.Pid}}")
    podman.ok("restart", "--time=5", container)
    second = podman.inspect(container, "{{.State.Pid}}")
    if first == second:
        expect(second, "another", "the process number after the restart")
    until(lambda: podman.ok("exec", container, "cat", "/starts") == "x\nx", "two starts in the file")


@rootless.check
@podman.check
def a_stopped_container_starts_again(podman):
    container = podman.ok("create", BUSYBOX, "sh", "-c", "echo x >>/starts; wc -l </starts; exit 4")
    for count in ("1", "2", "3"):
        podman.call("start", "--attach", container).exits(4).prints(count)


@podman.check
def init_prepares_and_start_lets_it_go(podman):
    container = podman.ok("create", BUSYBOX, "echo", "now")
    podman.ok("init", container)
    expect(podman.inspect(container, "{{.State.Status}}"), "initialized", "its state")
    expect(podman.logs(container), "", "its output before the start")
    podman.ok("start", container)
    expect(podman.ok("wait", container), "0", "its status")
    expect(podman.logs(container), "now\n", "its output")


@podman.check
def a_prepared_container_that_was_never_started_is_removed(podman):
    container = podman.ok("create", BUSYBOX, "sleep", "100")
    podman.ok("init", container)
    podman.ok("rm", "--force", "--time=0", container)


@podman.check
def the_restart_policy_starts_a_failed_program_again(podman):
    container = podman.detached("--restart=on-failure:2", BUSYBOX, "sh", "-c", "echo x >>/starts; test $(wc -l </starts) = 3")
    until(lambda: podman.inspect(container, "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}") == "exited 2 0", "two restarts and success")


@podman.check
def a_container_has_a_time_limit(podman):
    # podman's own word for a program that its time limit ended
    podman.run("--timeout=1", BUSYBOX, "sleep", "100", limit=20).exits(255)


@rootless.check
@podman.check
def run_rm_leaves_nothing(podman):
    podman.run(BUSYBOX, "true").ok()
    podman.run(BUSYBOX, "false").exits(1)
    podman.run(BUSYBOX, "no-such-command").exits(127)
    until(lambda: not podman.ok("ps", "--all", "--quiet"), "no containers")


@podman.check
def inspect_tells_pids_times_and_the_runtime(podman):
    container = podman.detached(BUSYBOX, *STAY)
    told = json.loads(podman.ok("inspect", container))[0]
    expect(told["OCIRuntime"], podman.runtime.name, "OCIRuntime")
    with open(f"/proc/{told['State']['Pid']}/cmdline") as file:
        expect_in("trap", file.read(), "the command line of State.Pid")
    for field in ("StartedAt", "CgroupPath", "ConmonPid"):
        expect(bool(told["State"][field]), True, f"State.{field} is there")


@podman.check
def events_tell_a_containers_life(podman):
    podman.run("--name", podman.unique, BUSYBOX, "true").ok()
    told = podman.ok("events", "--stream=false", "--filter", f"container={podman.unique}", "--format={{.Status}}").split()
    for event in ("create", "init", "start", "died", "remove"):
        expect_in(event, told, "podman events")


@podman.check
def top_lists_its_processes(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "sleep 77 & sleep 88")
    until(lambda: {"77", "88"} <= set(podman.ok("top", container, "args").split()), "podman top has its processes")
    expect(podman.ok("top", container, "pid").split()[:2], ["PID", "1"], "process 1 comes first")


@podman.check
def many_at_once(podman):
    words = [*podman.command, "run", "--rm", "--network=none", BUSYBOX, "sh", "-c", "echo $((6*7))"]
    clients = [subprocess.Popen(words, env=podman.environment, stdout=subprocess.PIPE) for _ in range(8)]
    expect([client.communicate(timeout=60)[0] for client in clients], [b"42\n"] * 8, "what eight containers print")
    expect({client.returncode for client in clients}, {0}, "their status")
