"""Processes of a container: exec, init, namespaces, environment, users."""

import os
import time

from ..commands import expect, expect_in, expect_match, until
from .engine import BUSYBOX, DEBIAN, docker

IDS = "id -u; id -g; id -G"


@docker.check
def exec_prints_and_returns_a_status(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    said = docker.call("exec", container, "sh", "-c", "echo out; echo err >&2; exit 9").exits(9).prints("out")
    expect(said.errors.strip(), "err", "standard error")


@docker.check
def exec_reads_standard_input(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.call("exec", "--interactive", container, "wc", "-c", input="x" * 300_000).ok().prints("300000")


@docker.check
def exec_of_an_unknown_command_is_an_error(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    failed = docker.call("exec", container, "nosuchcommand")
    expect(failed.status in (126, 127), True, f"status {failed.status}")
    expect_match(r'exec: "nosuchcommand": executable file not found in \$PATH', failed.output + failed.errors, "message")


@docker.check
def exec_of_a_file_that_is_no_program_is_126(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    failed = docker.call("exec", container, "/etc/passwd").exits(126)
    expect_match("permission denied", failed.output + failed.errors, "message")


@docker.check
def exec_takes_user_directory_and_environment(docker):
    container = docker.begin("--env", "KEPT=yes", BUSYBOX, "sleep", "100")
    docker.call("exec", "--user", "app", "--workdir", "/var/tmp", "--env", "GIVEN=too", container,
                "sh", "-c", 'echo "$(id -u) $PWD $KEPT $GIVEN $HOME"').ok().prints("1000 /var/tmp yes too /home/app")
    docker.call("exec", "--user", "12:34", container, "sh", "-c", IDS).ok().prints("12\n34\n34")


@docker.check
def exec_in_the_background_goes_on(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("exec", "--detach", container, "sh", "-c", "sleep 0.3; touch /done")
    until(lambda: docker.call("exec", container, "test", "-e", "/done").status == 0, "the file")


@docker.check
def exec_ends_with_the_container(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("exec", "--detach", container, "sleep", "1000")
    until(lambda: "sleep 1000" in docker.ok("top", container), "the second process")
    docker.ok("kill", container)
    docker.status(container, "exited")
    docker.call("exec", container, "true").exits(1).complains("is not running")


@docker.check
def many_execs_at_once(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    for number in range(8):
        docker.ok("exec", "--detach", container, "sh", "-c", f"sleep 0.2; echo {number} >/made-{number}")
    until(lambda: docker.ok("exec", container, "sh", "-c", "cat /made-*").split() == [str(number) for number in range(8)], "the files")


@docker.check
def exec_is_in_the_containers_cgroup_and_namespaces(docker):
    container = docker.begin("--memory", "64m", BUSYBOX, "sleep", "100")
    probe = "readlink /proc/$1/ns/mnt /proc/$1/ns/net /proc/$1/ns/ipc /proc/$1/ns/pid; cat /proc/$1/cgroup"
    of_first = docker.ok("exec", container, "sh", "-c", probe, "sh", "1")
    expect(docker.ok("exec", container, "sh", "-c", probe, "sh", "self"), of_first, "namespaces and cgroups")


@docker.check
def exec_privileged_has_every_capability(docker):
    container = docker.begin("--cap-drop", "ALL", BUSYBOX, "sleep", "100")
    ask = ("exec", container, "grep", "CapEff", "/proc/self/status")
    expect(docker.ok(*ask), "CapEff:\t0000000000000000", "capabilities")
    said = docker.ok("exec", "--privileged", container, "grep", "CapEff", "/proc/self/status")
    expect(int(said.split()[1], 16) & 1 << 21 != 0, True, f"CAP_SYS_ADMIN in {said}")


@docker.check
def init_is_first_and_collects_orphans(docker):
    container = docker.begin("--init", BUSYBOX, "sh", "-c", "(sleep 0.1 & exec true); exec sleep 100")
    expect_in("docker-init", docker.ok("exec", container, "cat", "/proc/1/cmdline"), "process 1")
    time.sleep(0.4)
    expect(docker.ok("exec", container, "sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"), "0", "zombies")


@docker.check
def init_hands_signals_and_the_status_on(docker):
    docker.run("--init", BUSYBOX, "sh", "-c", "exit 8").exits(8)
    container = docker.begin("--init", BUSYBOX, "sleep", "100")
    docker.call("stop", container, limit=9).ok()
    expect(docker.inspect(container, "{{.State.ExitCode}}"), "143", "exit status")


@docker.check
def user_by_number(docker):
    docker.run("--user", "4321:8765", BUSYBOX, "sh", "-c", IDS).ok().prints("4321\n8765\n8765")


@docker.check
def user_by_name_with_its_groups(docker):
    docker.run("--user", "app", BUSYBOX, "sh", "-c", IDS + "; echo $HOME").ok().prints("1000\n1000\n1000 2000\n/home/app")


@docker.check
def groups_can_be_added(docker):
    docker.run("--user", "app:app", "--group-add", "extra", "--group-add", "77", BUSYBOX, "sh", "-c", IDS).ok().prints("1000\n1000\n1000 77 2000")


@docker.check
def an_unknown_user_is_an_error(docker):
    docker.run("--user", "nosuchuser", BUSYBOX, "true").exits(125).complains("unable to find user nosuchuser")


@docker.check
def environment_and_entry_point(docker):
    file = docker.scratch / "env"
    file.write_text("FROM_FILE=b c\n")
    docker.run("--env", "GIVEN=a", "--env-file", file, "--entrypoint", "/bin/sh", BUSYBOX, "-c", 'echo "$GIVEN $FROM_FILE"').ok().prints("a b c")


@docker.check
def a_working_directory_is_made(docker):
    docker.run("--workdir", "/new/deep", BUSYBOX, "pwd").ok().prints("/new/deep")


@docker.check
def a_file_as_working_directory_is_an_error(docker):
    failed = docker.run("--workdir", "/etc/passwd", BUSYBOX, "pwd")
    expect(failed.status in (125, 126, 127), True, f"status {failed.status}")
    failed.complains("not a directory")


@docker.check
def process_numbers_of_the_host(docker):
    said = docker.ok("run", "--rm", "--pid", "host", BUSYBOX, "sh", "-c", "grep -c dockerd /proc/[0-9]*/cmdline | grep -c ':1'")
    expect(int(said) >= 1, True, "dockerd is seen")


@docker.check
def process_numbers_of_another_container(docker):
    first = docker.begin(BUSYBOX, "sleep", "4321")
    expect_in("sleep 4321", docker.ok("run", "--rm", "--pid", f"container:{first}", BUSYBOX, "ps"), "processes")


@docker.check
def memory_shared_with_another_container(docker):
    first = docker.begin("--ipc", "shareable", "--shm-size", "3m", BUSYBOX, "sh", "-c", "echo shared >/dev/shm/file; sleep 100")
    until(lambda: docker.call("exec", first, "test", "-s", "/dev/shm/file").status == 0, "the file")
    docker.run("--ipc", f"container:{first}", BUSYBOX, "cat", "/dev/shm/file").ok().prints("shared")
    expect_match(r"\s3072\s", docker.ok("exec", first, "df", "-k", "/dev/shm"), "size")


@docker.check
def the_hosts_name_space(docker):
    docker.run("--uts", "host", BUSYBOX, "readlink", "/proc/self/ns/uts").ok().prints(os.readlink("/proc/self/ns/uts"))
    docker.run("--hostname", "named", "--domainname", "example", BUSYBOX, "cat", "/etc/hostname", "/proc/sys/kernel/domainname").ok().prints("named\nexample")


@docker.check
def a_cgroup_namespace_of_its_own(docker):
    said = docker.run("--cgroupns", "private", BUSYBOX, "cat", "/proc/self/cgroup").ok().output
    expect({line.split(":", 2)[2] for line in said.splitlines()}, {"/"}, "cgroups")


@docker.check
def a_whole_debian_runs(docker):
    docker.run(DEBIAN, "bash", "-c", "shopt -s extglob; dpkg --version | head -1; getent hosts localhost").ok()
