"""From run to rm: what a container says, how it ends, and what docker knows of it."""

import hashlib
import json
import time

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, docker


@docker.check
def run_keeps_output_and_errors_apart(docker):
    said = docker.run(BUSYBOX, "sh", "-c", "echo out; echo err >&2").ok().prints("out")
    expect(said.errors.strip(), "err", "standard error")


@docker.check
def the_exit_status_is_the_programs(docker):
    docker.run(BUSYBOX, "sh", "-c", "exit 7").exits(7)


@docker.check
def an_unknown_command_is_127(docker):
    docker.run(BUSYBOX, "nosuchcommand").exits(127).complains(r'exec: "nosuchcommand": executable file not found in \$PATH')


@docker.check
def an_unknown_path_is_127(docker):
    docker.run(BUSYBOX, "/no/such/file").exits(127).complains("no such file or directory")


@docker.check
def a_file_that_is_no_program_is_126(docker):
    docker.run(BUSYBOX, "/etc/passwd").exits(126).complains("permission denied")


@docker.check
def a_directory_as_a_command_is_126(docker):
    docker.run(BUSYBOX, "/etc").exits(126).complains("permission denied|is a directory")


@docker.check
def a_setting_the_kernel_lacks_fails_the_run(docker):
    name = docker.unique
    failed = docker.call("run", "--name", name, "--sysctl", "net.ipv4.nosuchsetting=1", BUSYBOX, "true")
    expect(failed.status in (125, 127), True, f"status {failed.status} is that of a runtime's error")
    failed.complains("OCI runtime create failed.*nosuchsetting")
    expect(docker.inspect(name, "{{.State.Status}}"), "created", "the container's status")


@docker.check
def a_name_in_use_is_125(docker):
    docker.begin("--name", docker.unique, BUSYBOX, "sleep", "100")
    docker.run("--name", docker.unique, BUSYBOX, "true").exits(125).complains("already in use")


@docker.check
def a_container_in_the_background_logs(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 3")
    expect(docker.ok("wait", container), "3", "wait")
    expect(docker.logs(container), ("out\n", "err\n"), "logs")


@docker.check
def logs_can_be_followed(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    docker.call("logs", "--follow", container, limit=20).ok().prints("1\n2\n3")


@docker.check
def stop_asks_with_the_signal_term(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in docker.logs(container)[0], "the trap")
    docker.call("stop", container, limit=9).ok()
    expect(docker.inspect(container, "{{.State.ExitCode}}"), "5", "exit status")
    expect_in("bye", docker.logs(container)[0], "logs")


@docker.check
def stop_kills_what_does_not_hear(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in docker.logs(container)[0], "the trap")
    docker.call("stop", "--time", "1", container, limit=20).ok()
    expect(docker.inspect(container, "{{.State.ExitCode}}"), "137", "exit status")


@docker.check
def stop_uses_the_containers_own_signal(docker):
    container = docker.begin("--stop-signal", "USR2", BUSYBOX, "sh", "-c",
                             "trap 'exit 12' USR2; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in docker.logs(container)[0], "the trap")
    docker.call("stop", container, limit=9).ok()
    expect(docker.inspect(container, "{{.State.ExitCode}}"), "12", "exit status")


@docker.check
def kill_sends_any_signal(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "trap 'echo got it' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in docker.logs(container)[0], "the trap")
    docker.ok("kill", "--signal", "USR1", container)
    until(lambda: "got it" in docker.logs(container)[0], "the signal")
    expect(docker.inspect(container, "{{.State.Running}}"), "true", "running")


@docker.check
def kill_ends_with_137(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("kill", container)
    expect(docker.ok("wait", container), "137", "wait")


@docker.check
def pause_stands_still_and_unpause_goes_on(docker):
    container = docker.begin("--volume", f"{docker.scratch}:/count", BUSYBOX, "sh", "-c",
                             "i=0; while :; do i=$((i+1)); echo $i >/count/n; sleep 0.02; done")

    def count():
        file = docker.scratch / "n"
        return file.read_text() if file.exists() else ""

    until(count, "the count")
    docker.ok("pause", container)
    expect(docker.inspect(container, "{{.State.Status}}"), "paused", "status")
    before = count()
    time.sleep(0.3)
    expect(count(), before, "the count of a paused container")
    docker.ok("unpause", container)
    until(lambda: count() not in ("", before), "the count goes on")


@docker.check
def a_paused_container_can_be_removed_by_force(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("pause", container)
    docker.call("rm", "--force", container, limit=20).ok()
    expect(docker.ok("ps", "--all", "--quiet"), "", "containers")


@docker.check
def a_restart_sees_what_was_written(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "ls /; date +%N >>/written; wc -l </written; sleep 100")
    until(lambda: "\n1\n" in docker.logs(container)[0], "the first start")
    first = docker.inspect(container, "{{.State.Pid}}")
    docker.call("restart", "--time", "0", container).ok()
    until(lambda: "\n2\n" in docker.logs(container)[0], "the second start")
    expect(docker.inspect(container, "{{.State.Pid}}") != first, True, "another process")


@docker.check
def a_stopped_container_starts_again(docker):
    docker.call("run", "--name", docker.unique, BUSYBOX, "sh", "-c", "echo once; exit 4").exits(4)
    docker.call("start", "--attach", docker.unique).exits(4).prints("once")


@docker.check
def a_created_container_starts_later(docker):
    container = docker.ok("create", BUSYBOX, "echo", "later")
    expect(docker.inspect(container, "{{.State.Status}}"), "created", "status")
    docker.call("start", "--attach", container).ok().prints("later")


@docker.check
def a_container_can_be_renamed(docker):
    docker.begin("--name", docker.unique, BUSYBOX, "sleep", "100")
    docker.ok("rename", docker.unique, docker.unique + "-new")
    docker.call("exec", docker.unique + "-new", "echo", "here").ok().prints("here")


@docker.check
def run_with_rm_leaves_nothing(docker):
    docker.run("--name", docker.unique, "--volume", "/anonymous", BUSYBOX, "touch", "/anonymous/file").ok()
    expect(docker.ok("ps", "--all", "--quiet"), "", "containers")
    expect(docker.ok("volume", "ls", "--quiet"), "", "volumes")


@docker.check
def wait_waits_for_several(docker):
    containers = [docker.begin(BUSYBOX, "sh", "-c", f"sleep 0.3; exit {status}") for status in (1, 2)]
    expect(docker.ok("wait", *containers), "1\n2", "wait")


@docker.check
def events_tell_a_life(docker):
    began = time.time()
    docker.call("run", "--name", docker.unique, BUSYBOX, "sh", "-c", "exit 6").exits(6)
    docker.ok("rm", docker.unique)
    told = docker.ok("events", "--since", f"{began:.3f}", "--until", f"{time.time():.3f}", "--filter", f"container={docker.unique}",
                     "--format", "{{json .}}")
    events = [json.loads(line) for line in told.splitlines()]
    actions = [event["Action"] for event in events]
    expect([action for action in actions if action in ("create", "start", "die", "destroy")],
           ["create", "start", "die", "destroy"], "events")
    expect(events[actions.index("die")]["Actor"]["Attributes"]["exitCode"], "6", "the exit status of die")


@docker.check
def restart_on_failure_counts(docker):
    container = docker.begin("--restart", "on-failure:2", BUSYBOX, "sh", "-c", "echo try; exit 1")
    until(lambda: docker.logs(container)[0].count("try") == 3, "three tries")
    docker.status(container, "exited")
    expect(docker.inspect(container, "{{.RestartCount}}"), "2", "restarts")


@docker.check
def a_health_command_that_succeeds_is_healthy(docker):
    container = docker.begin("--health-cmd", "test -e /tmp/well", "--health-interval", "200ms", "--health-retries", "1",
                             BUSYBOX, "sh", "-c", "mkdir -p /tmp; touch /tmp/well; sleep 100")
    until(lambda: docker.inspect(container, "{{.State.Health.Status}}") == "healthy", "healthy")
    docker.ok("exec", container, "rm", "/tmp/well")
    until(lambda: docker.inspect(container, "{{.State.Health.Status}}") == "unhealthy", "unhealthy")


@docker.check
def top_lists_processes(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "sleep 33 & sleep 44 & wait")
    until(lambda: docker.ok("top", container).count("sleep 33") == 2 and "sleep 44" in docker.ok("top", container), "the processes")
    expect_match(r"PID.*CMD", docker.ok("top", container), "heading")
    expect_match(r"^COMMAND\s", docker.ok("top", container, "-o", "comm,pid"), "columns that were asked for")


@docker.check
def ten_containers_at_once(docker):
    containers = [docker.begin(BUSYBOX, "sh", "-c", f"sleep 1; exit {number}") for number in range(10)]
    expect(docker.ok("wait", *containers).split(), [str(number) for number in range(10)], "exit statuses")


@docker.check
def a_great_deal_of_output_is_complete(docker):
    said = docker.run(BUSYBOX, "sh", "-c", "yes 0123456789abcde | head -c 8000000; exit 9").exits(9)
    expect(len(said.output), 8_000_000, "bytes")


@docker.check
def standard_input_arrives_whole(docker):
    sent = "0123456789abcde\n" * 100_000
    docker.run("--interactive", BUSYBOX, "sha256sum", input=sent).ok().prints(hashlib.sha256(sent.encode()).hexdigest() + "  -")

