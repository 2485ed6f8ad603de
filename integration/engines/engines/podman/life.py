"""A container's life: run, stop, start, remove."""

from ..commands import expect
from .engine import podman


@podman.check
def run_prints_what_the_program_prints(podman):
    podman.call("run", "--rm", "busybox:1", "echo", "hello").ok().prints("hello")


@podman.check
def the_exit_status_is_the_programs(podman):
    for status in (0, 1, 7, 255):
        podman.call("run", "--rm", "busybox:1", "sh", "-c", f"exit {status}").exits(status)
