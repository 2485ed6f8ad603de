"""Daemons of engines: started with their output in a file, ended by the process number they have."""

import os
import pathlib
import subprocess

from .commands import Mismatch


def start(words, log):
    """A daemon in a session of its own, its output in a file."""
    with log.open("ab") as file:
        return subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                start_new_session=True)


def stop(process, limit=30):
    """Ends a daemon and waits for it."""
    process.terminate()
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Mismatch(f"{process.args[0]}: no end within {limit} s") from None


def tail(log):
    return log.read_text(errors="replace")[-1000:] if log.exists() else ""


def remove_cgroup(name):
    """The parent cgroup that a daemon leaves, in every hierarchy."""
    for hierarchy in pathlib.Path("/sys/fs/cgroup").iterdir():
        for directory, _, _ in sorted(os.walk(hierarchy / name), reverse=True):
            os.rmdir(directory)
