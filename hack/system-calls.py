"""Which system calls a command of fragment-runc makes: by phase of docs/tracing.md and by what they are for.

Each is found once with strace alone, which is the count, and once with a trace beside it, which tells the phases. What a call is for
is told by the first line of hack/system-calls.txt that matches it.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
OURS = os.environ["FRAGMENT_RUNC"]
OTHERS = {"runc": "/usr/sbin/runc", "crun": "/usr/bin/crun"}
COMMANDS = ["run", "create", "start", "delete", "exec", "state"]
# the same as in tests/tests/budget/scenario.rs
MASKED = ["/proc/version", "/proc/loadavg", "/proc/driver", "/sys/firmware"] + [f"/proc/absent-{number}" for number in range(1, 5)]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/absent-5"]
SLEEPER = ["/bin/sleep", "1000"]
DEADLINE = 60

Call = collections.namedtuple("Call", "process time name text")


class Life:
    """A container of one runtime, from create to delete, each command under strace."""

    def __init__(self, runtime, directory, composed, program, trace=None):
        self.runtime, self.directory, self.name = runtime, directory, f"calls-{os.getpid()}-{directory.name}"
        self.trace, self.logs = trace, {}
        self.bundle = make_bundle(directory / "bundle", composed, program, self.name)
        self.environment = {
            "PATH": os.environ["PATH"], "FRAGMENT_STORE": os.environ["FRAGMENT_STORE"], "FRAGMENT_CONFIG": "/dev/null",
            "FRAGMENT_STATE": str(directory / "kept"),
        }
        self.program = program

    def prepare(self):
        """A first run, so that plans are kept and what is needed is loaded."""
        time.sleep(0.2)  # what changed a moment ago is not relied on
        if self.program != SLEEPER:
            self.call("run", "--bundle", str(self.bundle), self.name)
        if self.trace:
            self.environment["FRAGMENT_TRACE"] = str(self.trace)

    def words(self, *words):
        return [self.runtime, "--root", str(self.directory / "state"), *words]

    def end(self):
        """Removes the container, whatever became of it."""
        subprocess.run(self.words("delete", "--force", self.name), env=self.environment, check=False, capture_output=True, timeout=DEADLINE)

    def call(self, *words):
        subprocess.run(self.words(*words), env=self.environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=DEADLINE)

    def forget(self):
        for plan in (self.directory / "kept/plans").iterdir():
            plan.unlink()

    def strace(self, command, *words):
        """Starts the call; what it writes is in the log of that name."""
        self.logs[command] = self.directory / f"{command}.strace"
        flags = ["-f", "-q", "-y", "-s", "4000", "--absolute-timestamps=format:unix,precision:us", "-o", str(self.logs[command])]
        return subprocess.Popen(["strace", *flags, *self.words(*words)], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def traced(self, command, *words):
        process = self.strace(command, *words)
        if process.wait(DEADLINE):
            sys.exit(f"{command} of {self.runtime} failed")

    def create_start_delete(self):
        """All three, each with its calls: what the first process does after create is start's."""
        strace = self.strace("create", "create", "--bundle", str(self.bundle), self.name)
        text = quiet(self.logs["create"])
        self.traced("start", "start", self.name)
        strace.wait(DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while json.loads(subprocess.check_output(self.words("state", self.name), env=self.environment))["status"] != "stopped":
            if time.monotonic() > deadline:
                sys.exit("the container does not stop")
            time.sleep(0.01)
        self.traced("delete", "delete", self.name)
        whole = self.logs["create"].read_text(errors="replace")
        root = whole.split(" ", 1)[0]
        read = lambda command: self.logs[command].read_text(errors="replace")
        return {
            "create": calls(text, root),
            "start": calls(read("start")) + calls(whole[len(text):], root),
            "delete": calls(read("delete")),
        }

    def living(self, command):
        """`exec` or `state` of a container that runs."""
        self.call("create", "--bundle", str(self.bundle), self.name)
        self.call("start", self.name)
        words = ["exec", self.name, "/bin/true"] if command == "exec" else ["state", self.name]
        self.traced(command, *words)
        self.call("delete", "--force", self.name)
        return calls(self.logs[command].read_text(errors="replace"))

    def run(self):
        self.traced("run", "run", "--bundle", str(self.bundle), self.name)
        return calls(self.logs["run"].read_text(errors="replace"))


def make_bundle(bundle, composed, program, name):
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True)
    if composed:
        args = ["/usr/bin/openssl", "version"]
        (rootfs / "usr/bin").mkdir(parents=True)
        shutil.copy(args[0], rootfs / "usr/bin/openssl")
    else:
        for directory in ["bin", "dev", "etc", "proc", "sys", "root", "mnt", "var", "home", "tmp"]:
            (rootfs / directory).mkdir()
        shutil.copy("/usr/bin/busybox", rootfs / "bin/busybox")
        for applet in ["true", "sleep"]:
            (rootfs / "bin" / applet).symlink_to("busybox")
        (rootfs / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        args = program
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"].update(args=args, terminal=False)
    spec["root"]["readonly"] = not composed
    spec["linux"].update(cgroupsPath=f"/{name}", maskedPaths=MASKED, readonlyPaths=READ_ONLY)
    (bundle / "config.json").write_text(json.dumps(spec))
    return bundle


def quiet(log):
    """The log, when the command has exited and what it left behind waits for something."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        time.sleep(0.02)
        text = log.read_text(errors="replace") if log.exists() else ""
        ended = set(re.findall(r"^(\d+) +\S+ \+\+\+ ", text, re.M))
        left = set(re.findall(r"^(\d+) ", text, re.M)) - ended
        if text and text.split(" ", 1)[0] in ended and all(state(process) == "S" for process in left for _ in range(3)):
            return log.read_text(errors="replace")
    sys.exit(f"{log}: not done after {DEADLINE} s")


def state(process):
    time.sleep(0.01)
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "gone"


def calls(text, root=None):
    """Every call of the command's processes until they execute another program."""
    found, gone = [], set()
    root = root or text.split(" ", 1)[0]
    for line in text.splitlines():
        match = re.match(r"(\d+) +(\d+\.\d+) (<\.\.\. )?(\w+)(.*)", line)
        if not match or match[1] in gone:
            continue
        if not match[3] and match[5].startswith("("):
            found.append(Call(match[1], float(match[2]), match[4], match[4] + match[5]))
        if match[4].startswith("execve") and line.endswith(" = 0") and match[1] != root:
            gone.add(match[1])
    return found


def phases(found, trace):
    """(phase, call) of every call that is not the trace's own. Where no phase is told it is named by its process. A phase is told when it ends, with the time of its begin by another
    clock: how far apart the clocks are is between what the line of a phase's end allows and what the call before it does."""
    spans, own, most, least, last = collections.defaultdict(list), set(), [], [], {}
    for number, call in enumerate(found):
        previous, last[call.process] = last.get(call.process), number
        if str(trace) not in call.text:
            continue
        own.add(number)
        event = re.match(r'write\(\d+<[^>]*>, "(.*),\\n"', call.text)
        if not event:
            continue
        event = json.loads(event[1].encode().decode("unicode_escape"))
        if previous is not None and found[previous].name == "gettid":
            own.add(previous)
        if event["ph"] != "M" and previous is not None:
            end = (event["ts"] + event.get("dur", 0)) / 1e6
            most.append(call.time - end)
            before = next(one for one in reversed(found[:number]) if one.process == call.process and one.name != "gettid")
            least.append(before.time - end)
        if event["ph"] == "X":
            spans[call.process].append((event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6, number, event["name"]))
    apart = (min(most) + max(least)) / 2
    root, pivoted = found[0].process, set()
    first = max((call for call in found if call.process != root), key=lambda call: call.time, default=found[0]).process
    for number, call in enumerate(found):
        if number in own:
            continue
        inside = [(end - begin, name) for begin, end, line, name in spans[call.process] if begin + apart <= call.time and number < line]
        if inside:
            yield min(inside)[1], call
        elif call.process == root:
            yield "begin", call
        elif call.process != first:
            yield "process between", call
        else:
            yield ("first process, new root" if call.process in pivoted else "first process"), call
        if call.name == "pivot_root":
            pivoted.add(call.process)


def reasons():
    """(pattern, reason) of hack/system-calls.txt."""
    lines = (TOP / "hack/system-calls.txt").read_text().splitlines()
    lines = [re.split(r"\t+", line) for line in lines if line and not line.startswith("#")]
    return [(re.compile(pattern), reason) for pattern, reason in lines]


def reason(rules, phase, call):
    # the rest is contents
    text = f"{phase}: {call.text[:300]}"
    return next((reason for pattern, reason in rules if pattern.search(text)), None)


def measure(command, composed, first, directory):
    """The calls of one command: (how many without a trace, [(phase, call)])."""
    for trace in [None, directory / "trace.json"]:
        program = SLEEPER if command in ("exec", "state") else ["/bin/true"]
        own = directory / ("traced" if trace else "plain")
        own.mkdir()
        found = of(Life(OURS, own, composed, program, trace), command, first)
        if trace is None:
            total = len(found)
    return total, list(phases(found, trace))


def of(life, command, first=False):
    try:
        life.prepare()
        if first:
            life.forget()
        if command == "run":
            return life.run()
        if command in ("exec", "state"):
            return life.living(command)
        return life.create_start_delete()[command]
    finally:
        life.end()


def grouped(command, composed, first, rules):
    """Rows of (phase, calls, count, reason) in the order of their first call, the total, and the calls without a reason."""
    with tempfile.TemporaryDirectory(prefix="fragment-calls.", dir="/tmp") as directory:
        total, found = measure(command, composed, first, pathlib.Path(directory))
    rows, unknown = {}, []
    for phase, call in found:
        why = reason(rules, phase, call)
        if why is None:
            unknown.append((phase, call))
        names = rows.setdefault((phase, why), collections.Counter())
        names[call.name] += 1
    return rows, total, unknown


def told(names):
    return ", ".join(f"{name} {count}" if count > 1 else name for name, count in names.most_common())


def show(options, rules):
    rows, total, unknown = grouped(options.command, options.composed, options.first, rules)
    if options.calls:
        by_phase = collections.defaultdict(collections.Counter)
        for (phase, _), names in rows.items():
            by_phase[phase].update(names)
        for phase, names in by_phase.items():
            print(f"{phase:24} {sum(names.values()):5}  {told(names)}")
    else:
        for (phase, why), names in rows.items():
            print(f"{phase:24} {sum(names.values()):5}  {why or 'NOT ACCOUNTED FOR'}\n{'':32}{told(names)}")
    print(f"\n{options.command}: {total} system calls")
    for phase, call in unknown:
        print(f"not in hack/system-calls.txt: {phase}: {call.text[:150]}")
    if not options.composed and not options.first:
        compare(options.command)
    return 1 if unknown else 0


def compare(command):
    """Tells how many calls others make, in a private mount namespace: crun refuses a hybrid cgroup layout, there it is a pure one."""
    script = 'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"'
    words = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh"]
    sys.stdout.flush()
    subprocess.run([*words, sys.executable, __file__, command, "--others"], check=False)


def others(command):
    """How many calls other runtimes make for the same."""
    for name, path in OTHERS.items():
        with tempfile.TemporaryDirectory(prefix="fragment-calls.", dir="/tmp") as directory:
            program = SLEEPER if command in ("exec", "state") else ["/bin/true"]
            try:
                print(f"{name}: {len(of(Life(path, pathlib.Path(directory), False, program), command))}", flush=True)
            except (OSError, subprocess.SubprocessError, SystemExit) as error:
                print(f"{name}: not measured: {error}", flush=True)


def document(rules):
    """Writes the tables of docs/system-calls.md anew."""
    path = TOP / "docs/system-calls.md"
    text, failed = path.read_text(), 0
    for command in ["create", "start", "delete"]:
        for composed in [False, True]:
            rows, total, unknown = grouped(command, composed, False, rules)
            failed |= bool(unknown)
            for phase, call in unknown:
                print(f"{command}: not in hack/system-calls.txt: {phase}: {call.text[:150]}", file=sys.stderr)
            name = command + (", composed" if composed else "")
            table = f"\n{total} calls.\n\n| phase | calls | why | which |\n|---|---|---|---|\n"
            for (phase, why), names in rows.items():
                table += f"| {phase} | {sum(names.values())} | {why or '?'} | {told(names)} |\n"
            begin, end = f"<!-- {name} -->\n", "<!-- end -->"
            before, rest = text.split(begin, 1)
            text = before + begin + table + end + rest.split(end, 1)[1]
    path.write_text(text)
    return failed


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(prog="hack/system-calls", description=__doc__)
    parser.add_argument("command", nargs="?", choices=COMMANDS, help="the command")
    parser.add_argument("--composed", action="store_true", help="of a bundle that needs components; else of one that lacks nothing")
    parser.add_argument("--first", action="store_true", help="without a plan that was kept")
    parser.add_argument("--calls", action="store_true", help="by phase alone")
    parser.add_argument("--others", action="store_true", help="only how many runc and crun make")
    parser.add_argument("--document", action="store_true", help="write the tables of docs/system-calls.md anew")
    options = parser.parse_args()
    if options.document == bool(options.command):
        parser.error("name a command, or --document")
    if options.others:
        return others(options.command)
    sys.exit(document(reasons()) if options.document else show(options, reasons()))


if __name__ == "__main__":
    main()
