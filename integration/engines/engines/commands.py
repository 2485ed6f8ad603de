"""Commands with a time limit, on files or on a terminal."""

import dataclasses
import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import tempfile
import termios
import time

LIMIT = 60


class Mismatch(Exception):
    """A check's expectation that is not met: what was expected, and what was seen."""


def expect(saw, wanted, what):
    if saw != wanted:
        raise Mismatch(f"{what}: expected {wanted!r}, saw {saw!r}")


def expect_in(part, whole, what):
    if part not in whole:
        raise Mismatch(f"{what}: expected {part!r} in {whole!r}")


def expect_match(pattern, text, what):
    """The match of a regular expression, searched for."""
    if not (found := re.search(pattern, text)):
        raise Mismatch(f"{what}: expected something like {pattern!r}, saw {text!r}")
    return found


def until(probe, what, limit=20):
    """The first true answer of `probe`, asked again and again for `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise Mismatch(f"{what}: not within {limit} s")
        time.sleep(0.05)


@dataclasses.dataclass
class Finished:
    """What came of a command."""

    line: str
    status: int
    output: str
    errors: str

    def ok(self):
        """Itself, if the command succeeded."""
        return self.exits(0)

    def exits(self, status):
        if self.status != status:
            said = "\n".join(part for part in (self.output.strip(), self.errors.strip()) if part)
            raise Mismatch(f"{self.line}: expected status {status}, saw {self.status}: {said[-2000:]}")
        return self

    def prints(self, text):
        """Itself, if standard output, without blanks around it, is `text`."""
        expect(self.output.strip(), text, self.line)
        return self

    def complains(self, pattern):
        """Itself, if standard error has something like `pattern`, in any case."""
        expect_match(f"(?i){pattern}", self.errors, self.line)
        return self


def call(words, *, input=None, limit=LIMIT, environment=None, directory=None, user=None, pass_fds=()):
    """Runs a command to its end. `user` is (uid, gid). Output goes to files: what a command leaves running may hold them open.
    A command that reaches its limit is a mismatch."""
    words = [str(word) for word in words]
    line = shlex.join(words)
    with tempfile.TemporaryFile() as feed, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        feed.write(input.encode() if isinstance(input, str) else input or b"")
        feed.seek(0)
        child = subprocess.Popen(
            words, stdin=feed if input is not None else subprocess.DEVNULL, stdout=output, stderr=errors,
            env=environment, cwd=directory, pass_fds=pass_fds, **identity(user),
        )
        try:
            status = child.wait(limit)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            status = None
        output.seek(0)
        errors.seek(0)
        said, complained = (file.read().decode(errors="replace") for file in (output, errors))
    if status is None:
        raise Mismatch(f"{line}: no end within {limit} s: {(said + complained)[-1000:]}")
    return Finished(line, status, said, complained)


def identity(user):
    """What subprocess needs to run something as (uid, gid)."""
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}


class Terminal:
    """A command on a terminal of its own; a context manager that ends what still runs.

        with Terminal(words) as terminal:
            terminal.await_text("# ")
            terminal.send("exit 3\\n")
            expect(terminal.wait(), 3, "the shell's status")
    """

    def __init__(self, words, *, environment=None, user=None, size=None):
        words = [str(word) for word in words]
        self.line = shlex.join(words)
        self.master, slave = pty.openpty()
        if size:
            self.resize(*size)
        self.child = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *words], stdin=slave, stdout=slave, stderr=slave, env=environment, **identity(user)
        )
        os.close(slave)
        self.text = ""

    def resize(self, rows, columns):
        """The kernel tells the terminal's foreground processes (SIGWINCH)."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.master)

    def read(self, wait):
        """Whether something came within `wait` seconds."""
        ready, _, _ = select.select([self.master], [], [], wait)
        try:
            piece = os.read(self.master, 65536) if ready else b""
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self.text += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)

    def await_text(self, pattern, limit=20):
        """The match of a regular expression in what was printed since the last one."""
        deadline = time.monotonic() + limit
        while not (found := re.search(pattern, self.text)):
            if not self.read(0.1) and (self.child.poll() is not None or time.monotonic() > deadline):
                raise Mismatch(f"{self.line}: expected something like {pattern!r} on the terminal, saw {self.text!r}")
        self.text = self.text[found.end():]
        return found

    def send(self, text):
        os.write(self.master, text.encode())

    def type(self, text):
        """Sends a key at a time, as fingers do: engines know their detach keys only so."""
        for key in text:
            self.send(key)
            time.sleep(0.2)

    def wait(self, limit=20):
        """The command's exit status."""
        deadline = time.monotonic() + limit
        while self.child.poll() is None:
            if not self.read(0.1) and time.monotonic() > deadline:
                raise Mismatch(f"{self.line}: no end within {limit} s, saw {self.text!r}")
        while self.read(0):
            pass
        return self.child.returncode
