"""Memory that stays beside containers, as their proportional set sizes tell (PSS, proc_pid_smaps_rollup(5)), and peaks of commands alone."""

import pathlib
import signal
import subprocess
import sys
import time

from . import machine

# a process of ours has it in its environment
MARK = "FRAGMENT_BENCH"
COUNT = 8
# cases of commands that wait for the container's program, of which wait4(2) tells the larger of both
WAIT = ["run", "run-4", "exec"]


def pss(pid):
    """KiB, 0 of a process that is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def peak(pid):
    """KiB of the largest resident set that the process had."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM:"))


def marked(mark):
    """Processes that have the mark in their environment. A container's program has the environment of its bundle."""
    found = set()
    for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environment.read_bytes().split(b"\0"):
                found.add(int(environment.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found


def wait_for(path):
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text().strip()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is not written")
        time.sleep(0.002)
    return int(path.read_text())


class Containers:
    """COUNT containers of one runtime."""

    def __init__(self, runtime, state, bundle, stopwatch, kind):
        self.base = [machine.RUNTIMES[runtime], "--root", str(state / runtime)]
        self.bundle, self.kind, self.scratch = bundle, kind, stopwatch.scratch
        self.mark = f"{stopwatch.mark}-{runtime}-{kind}"
        self.environment = {**stopwatch.environment, MARK: self.mark}
        self.names, self.processes = [], []

    def add(self):
        """Process number of the container's first process."""
        name = f"{self.mark}-{len(self.names)}"
        pid_file = self.scratch / f"{name}.pid"
        pid_file.unlink(missing_ok=True)
        self.names.append(name)
        words = [*self.base, "run" if self.kind == "run" else "create", "--bundle", str(self.bundle), "--pid-file", str(pid_file), name]
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "env": self.environment}
        if self.kind == "run":
            self.processes.append(subprocess.Popen(words, **silent))
            pid = wait_for(pid_file)
            # the runtime goes to sleep a moment after it started the program
            time.sleep(0.05)
            return pid
        subprocess.run(words, timeout=60, check=True, **silent)
        if self.kind == "detached":
            subprocess.run([*self.base, "start", name], timeout=60, check=True, **silent)
            time.sleep(0.02)
        return wait_for(pid_file)

    def sum(self, firsts):
        """KiB and number of our processes. The container's first is ours until it executes the program."""
        own = marked(self.mark) | {process.pid for process in self.processes} | (set(firsts) if self.kind == "created" else set())
        return sum(map(pss, own)), len(own)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in self.names:
            # a `run` in the foreground may have removed its container before us: what is said of that is not told
            silent = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": self.environment}
            subprocess.run([*self.base, "delete", "--force", name], timeout=60, check=False, **silent)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()


def added(runtime, cases, bundle, kind):
    """What one more container adds: {"pss_kib", "processes", "first_peak_kib"}. Kinds: `created` (waits for start), `detached` (runs, its
    runtime has ended), `run` (runs under a runtime in the foreground)."""
    with Containers(runtime, cases.state, bundle, cases.stopwatch, kind) as containers:
        firsts = [containers.add()]
        one, _ = containers.sum(firsts)
        firsts += [containers.add() for _ in range(COUNT - 1)]
        all_, processes = containers.sum(firsts)
        return {"pss_kib": (all_ - one) / (COUNT - 1), "processes": processes / COUNT, "first_peak_kib": max(map(peak, firsts))}


def measured(cases):
    """{RUNTIME: {KIND: what `added` tells}}"""
    bundle = cases.bundles.bundle("memory", cases.bundles.static(), ["/bin/sleep", "100000"])
    return {runtime: {kind: added(runtime, cases, bundle, kind) for kind in ("created", "detached", "run")} for runtime in cases.runtimes}


def own_peaks(cases, wanted):
    """{CASE: {LABEL: KiB of COUNT commands}}: the largest resident set of the runtime's own process."""
    program = machine.compiled("peak")
    found = {}
    for case in (case for case in wanted if case.name in WAIT):
        for contender in (contender for contender in case.contenders if contender.label in machine.RUNTIMES):
            ((_, words),) = contender.steps
            kib = found.setdefault(case.name, {}).setdefault(contender.label, [])
            for number in range(COUNT):
                name = f"{cases.stopwatch.mark}-peak-{number}"
                command = [program, *(name if word == "NAME" else str(word) for word in words)]
                done = subprocess.run(command, env=cases.stopwatch.environment, capture_output=True, text=True, timeout=60, check=False)
                if done.returncode:
                    sys.exit(f"hack/bench: {case.name}, {contender.label}: {done.stderr.strip()}")
                kib.append(int(done.stdout.split()[-1]))
    return found
