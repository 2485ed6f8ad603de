"""One run of an OCI bundle under a runtime: process, terminal, probe, time limit; and nothing of it left afterwards."""

import dataclasses
import json
import os
import pathlib
import pty
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# what engines grant a container by default
GRANTED = """AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT""".split()
MOUNTS = [
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


@dataclasses.dataclass
class Result:
    """What came of a run. `reply` is what a server said, None where it said nothing."""

    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    reply: str | None = None
    timeout: bool = False
    seconds: float = 0.0


def configuration(case, rootfs, name):
    """config.json as an engine writes it."""
    env = {"PATH": PATH, **({"TERM": "xterm"} if case.tty else {}), **case.env}
    return {
        "ociVersion": "1.0.2",
        "hostname": "corpus",
        "annotations": case.annotations,
        "root": {"path": str(rootfs), "readonly": False},
        "process": {
            "terminal": case.tty,
            "user": {"uid": case.uid, "gid": case.gid},
            "args": case.argv,
            "env": [f"{key}={value}" for key, value in env.items()],
            "cwd": case.cwd,
            "capabilities": {kind: [f"CAP_{one}" for one in GRANTED] for kind in ("bounding", "permitted", "effective")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
            "noNewPrivileges": False,
        },
        "mounts": [{"destination": place, "type": kind, "source": source, "options": options} for place, kind, source, options in MOUNTS],
        "linux": {
            "cgroupsPath": f"/{name}",
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }


class Runtime:
    """An OCI runtime with a state directory of its own."""

    def __init__(self, program, state, environment=None):
        self.program, self.state = program, state
        self.environment = {**os.environ, **(environment or {})}

    def words(self, *more):
        return [str(self.program), "--root", str(self.state), *more]

    def call(self, *more):
        return subprocess.run(self.words(*more), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment, timeout=60)

    def run(self, case, bundle, name, patience=1.0, before=()):
        """Runs the bundle to its end, to its probe's answer or to its time limit; `before` are words before the runtime's own (a tracer)."""
        result, limit = Result(), case.timeout * patience
        started = time.monotonic()
        words = [*before, *self.words("run", "--bundle", str(bundle), name)]
        with Pipes(case) as pipes:
            process = subprocess.Popen(words, stdin=pipes.stdin, stdout=pipes.stdout, stderr=pipes.stderr, env=self.environment, start_new_session=True)
            pipes.started(case)
            try:
                if case.probe:
                    result.reply = self.probe(case.probe, name, process, limit)
                    self.call("kill", name, "KILL")
                    process.wait(timeout=60)
                else:
                    process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                result.timeout = True
            finally:
                self.end(name, process)
            result.status = process.returncode
        result.stdout, result.stderr = pipes.texts()
        result.seconds = time.monotonic() - started
        return result

    def end(self, name, process):
        if process.poll() is None:
            self.call("kill", name, "KILL")
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.call("delete", "--force", name)

    def probe(self, probe, name, process, limit):
        """What the server answers, asked from inside the container's network; None when it ends or the time is over."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and process.poll() is None:
            state = self.call("state", name)
            if state.returncode == 0 and json.loads(state.stdout).get("status") == "running":
                pid = json.loads(state.stdout)["pid"]
                left = max(1, int(deadline - time.monotonic()))
                words = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-B", str(HERE / "probe.py"), json.dumps(probe), str(left)]
                asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                while asked.poll() is None and process.poll() is None:
                    time.sleep(0.02)
                asked.kill()
                reply = asked.communicate()[0]
                return reply.decode("latin-1") or None
            time.sleep(0.05)
        return None


class Pipes:
    """Standard input, output and error of a run: pipes that threads read, or one terminal."""

    def __init__(self, case):
        self.threads, self.read, self.ends = [], {}, []
        if case.tty:
            self.ours, theirs = pty.openpty()
            self.stdin = self.stdout = self.stderr = theirs
            self.ends, self.reading = [theirs], {"stdout": self.ours}
            self.writing = os.dup(self.ours) if case.stdin else None
        else:
            out, self.stdout = os.pipe()
            err, self.stderr = os.pipe()
            self.reading, self.writing = {"stdout": out, "stderr": err}, None
            if case.stdin is None:
                self.stdin = os.open(os.devnull, os.O_RDONLY)
            else:
                self.stdin, self.writing = os.pipe()
            self.ends = [self.stdin, self.stdout, self.stderr]

    def __enter__(self):
        for name, end in self.reading.items():
            self.threads.append(threading.Thread(target=self.collect, args=(name, end), daemon=True))
            self.threads[-1].start()
        return self

    def started(self, case):
        """After the process has its ends: closes ours of them and writes the input."""
        for end in self.ends:
            os.close(end)
        if self.writing is not None:
            threading.Thread(target=self.feed, args=(case.stdin,), daemon=True).start()

    def feed(self, text):
        try:
            os.write(self.writing, text.encode())
        except BrokenPipeError:
            pass
        finally:
            os.close(self.writing)

    def collect(self, name, end):
        out = self.read.setdefault(name, bytearray())
        while True:
            try:
                data = os.read(end, 65536)
            except OSError:
                break
            if not data:
                break
            # a program that prints without end is not worth more
            if len(out) < 4 << 20:
                out += data

    def __exit__(self, *_):
        # what a process has written before its end is in the pipe; nothing waits for those who hold it open still
        deadline = time.monotonic() + 2
        for thread, end in zip(self.threads, self.reading.values()):
            thread.join(max(0, deadline - time.monotonic()))
            if not thread.is_alive():
                os.close(end)

    def texts(self):
        decoded = [bytes(self.read.get(name, b"")).decode(errors="replace") for name in ("stdout", "stderr")]
        return [text.replace("\r\n", "\n") for text in decoded]
