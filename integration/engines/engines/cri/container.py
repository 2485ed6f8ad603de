"""Containers: life, logs, exec, and the reasons they ended for."""

import time

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, DEBIAN, cri

TRAP = ("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")


@cri.check
def a_container_lives_and_ends(cri):
    container = cri.pod().create("sh", "-c", "sleep 0.5")
    expect(container.status()["state"], "CONTAINER_CREATED", "state")
    container.start()
    expect(container.status()["state"], "CONTAINER_RUNNING", "state")
    status = container.end()
    expect((status["exit_code"], status["reason"]), (0, "Completed"), "end")
    expect(int(status["created_at"]) < int(status["started_at"]) < int(status["finished_at"]), True, "times in order")


@cri.check
def an_error_has_its_status(cri):
    status = cri.pod().start("sh", "-c", "exit 3").end()
    expect((status["exit_code"], status["reason"]), (3, "Error"), "end")


@cri.check
def the_log_keeps_streams_apart(cri):
    container = cri.pod().start("sh", "-c", "echo out; sleep 0.2; echo err >&2; sleep 0.2; printf rest")
    container.end()
    until(lambda: len(container.lines()) == 3, "three lines")
    expect(container.lines(), [("stdout", "F", "out"), ("stderr", "F", "err"), ("stdout", "P", "rest")], "log")


@cri.check
def the_log_can_be_reopened(cri):
    container = cri.pod().start("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    until(container.lines, "a line")
    container.file.rename(container.file.with_suffix(".old"))
    container.ask("ReopenContainerLog")
    until(container.lines, "a line in the new file")


@cri.check
def stop_asks_first(cri):
    container = cri.pod().start(*TRAP)
    until(lambda: "ready" in container.log(), "the trap")
    began = time.monotonic()
    container.ask("StopContainer", timeout=20)
    expect((container.status()["exit_code"], time.monotonic() - began < 10), (5, True), "status, and no kill")


@cri.check
def stop_kills_what_does_not_hear(cri):
    container = cri.pod().start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in container.log(), "the trap")
    container.ask("StopContainer", timeout=1)
    status = container.status()
    expect((status["exit_code"], status["reason"]), (137, "Error"), "end")
    container.ask("StopContainer", timeout=1)


@cri.check
def remove_of_a_running_container_ends_it(cri):
    pod = cri.pod()
    container = pod.start("sleep", "1000")
    container.ask("RemoveContainer")
    expect_in("NOT_FOUND", cri.refused("ContainerStatus", container_id=container.id), "status of a removed container")
    container.ask("RemoveContainer")


@cri.check
def a_container_is_replaced_by_its_next_attempt(cri):
    pod = cri.pod()
    first = pod.start("sh", "-c", "exit 1", metadata={"name": "app", "attempt": 0})
    first.end()
    second = pod.start("sleep", "1000", metadata={"name": "app", "attempt": 1})
    first.ask("RemoveContainer")
    expect((second.status()["state"], second.status()["metadata"]["attempt"]), ("CONTAINER_RUNNING", 1), "the second attempt")


@cri.check
def an_unknown_command_does_not_start(cri):
    container = cri.pod().create("nosuchcommand")
    expect_match(r'exec: \\?"nosuchcommand\\?": executable file not found in \$PATH', cri.refused("StartContainer", container_id=container.id), "error")
    status = container.status()
    expect((status["state"], status["reason"], status["exit_code"]), ("CONTAINER_EXITED", "StartError", 128), "status")


@cri.check
def a_file_that_is_no_program_does_not_start(cri):
    container = cri.pod().create("/etc/passwd")
    expect_match("permission denied", cri.refused("StartContainer", container_id=container.id), "error")
    expect(container.status()["reason"], "StartError", "reason")


@cri.check
def a_program_of_another_kind_does_not_run(cri):
    container = cri.pod().create("/tmp/program", mounts=[{"container_path": "/tmp/program", "host_path": str(script(cri, "no program\n"))}])
    try:
        container.start()
    except Exception as error:
        expect_match("(?i)exec format error", str(error), "error")
    else:
        expect(container.end()["exit_code"] != 0, True, "an error")


@cri.check
def command_arguments_and_the_images_own(cri):
    container = cri.pod().start(image=BUSYBOX, args=["sh", "-c", "echo from arguments"])
    container.end()
    expect(container.log(), "from arguments\n", "log")
    container = cri.pod().start("sh", "-c", 'echo "$0 $1"', args=["one", "two"])
    container.end()
    expect(container.log(), "one two\n", "log")


@cri.check
def environment_and_directory(cri):
    said = cri.run("sh", "-c", 'echo "$GIVEN $PWD"', envs=[{"key": "GIVEN", "value": "a b"}], working_dir="/new/deep")
    expect(said, "a b /new/deep", "log")


@cri.check
def exec_prints_and_returns_a_status(cri):
    container = cri.pod().start("sleep", "1000")
    expect(container.exec("sh", "-c", "echo out; exit 9", status=9), "out\n", "standard output")
    expect(container.exec("sh", "-c", "echo err >&2; exit 1", status=1), "err\n", "standard error")


@cri.check
def exec_of_an_unknown_command_is_an_error(cri):
    container = cri.pod().start("sleep", "1000")
    expect_match(r'exec: \\?"nosuchcommand\\?": executable file not found in \$PATH', cri.refused("ExecSync", container_id=container.id, cmd=["nosuchcommand"], timeout=9), "error")


@cri.check
def exec_has_a_time_limit(cri):
    container = cri.pod().start("sleep", "1000")
    began = time.monotonic()
    expect_match("timeout|deadline", cri.refused("ExecSync", container_id=container.id, cmd=["sleep", "777"], timeout=1), "error")
    expect(time.monotonic() - began < 10, True, "in time")
    until(lambda: "sleep 777" not in container.exec("ps"), "the end of the command")


@cri.check
def many_execs_one_after_the_other(cri):
    container = cri.pod().start("sleep", "1000")
    for number in range(20):
        expect(container.exec("echo", str(number)), f"{number}\n", "exec")
    expect(len(container.exec("ps").splitlines()), 4, "heading, pause, sleep and ps")


@cri.check
def a_terminal_logs(cri):
    container = cri.pod().start("sh", "-c", "tty; stty -a | head -1", tty=True)
    container.end()
    until(lambda: len(container.lines()) >= 2, "two lines")
    expect_in("/dev/pts/0", container.log(), "log")


@cri.check
def standard_input_stays_open(cri):
    container = cri.pod().start("sh", "-c", "read line; echo ended", stdin=True)
    time.sleep(0.3)
    expect(container.status()["state"], "CONTAINER_RUNNING", "state")


@cri.check
def containers_are_listed_by_pod_state_and_label(cri):
    pod, other = cri.pod(), cri.pod()
    one = pod.start("sleep", "1000", labels={"app": "one"})
    pod.start("true").end()
    other.start("sleep", "1000")

    def listed(**filter):
        return [container["id"] for container in cri.ask("ListContainers", filter=filter)["containers"]]

    expect(len(listed(pod_sandbox_id=pod.id)), 2, "containers of a pod")
    expect(listed(pod_sandbox_id=pod.id, state={"state": "CONTAINER_RUNNING"}), [one.id], "running ones")
    expect(listed(label_selector={"app": "one"}), [one.id], "ones with a label")


@cri.check
def annotations_of_the_product_reach_the_runtime(cri):
    pod = cri.pod(annotations={"dev.fragment.compose": "off", "other": "no"})
    container = pod.start("sleep", "1000", annotations={"dev.fragment.exclude": "curl", "more": "no"})
    expect(cri.bundle(pod.id)["annotations"].get("dev.fragment.compose"), "off", "the pod's annotation")
    told = container.bundle()["annotations"]
    expect((told.get("dev.fragment.exclude"), told.get("more"), told.get("other")), ("curl", None, None), "the container's annotations")


@cri.check
def a_whole_debian_runs(cri):
    expect_in("localhost", cri.run("bash", "-c", "shopt -s extglob; getent hosts localhost", image=DEBIAN), "log")


def script(cri, text):
    """An executable file outside."""
    file = cri.scratch / "program"
    file.write_text(text)
    file.chmod(0o755)
    return file
