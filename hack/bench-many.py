"""Many containers of five component sets alive at once: is a shared file in memory once, what does a container cost in files of ours, and is
the last container made as fast as the first?

Shared files are measured as the kernel accounts them: the proportional set size (PSS) of all mappings of files, over all containers,
beside what one container of each set has resident of them. One copy of everything makes the two equal; a copy for each container
would make the sum as large as all resident sets together. Times are ratios within this run.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from stopwatch import timed

TOP = pathlib.Path(__file__).resolve().parent.parent
RUNTIME = os.environ.get("FRAGMENT_RUNC", str(TOP / "target/bin/fragment-runc"))
# sets of components, by a program of each that sleeps; every one says on its standard output that it is there
SETS = {
    "core": ["/bin/sh", "-c", "echo ready; exec sleep 100000"],
    "bash": ["/bin/bash", "-c", "echo ready; read < /proc/self/fd/0"],
    "python3": ["/usr/bin/python3", "-c", "import ssl, json, time; print('ready', flush=True); time.sleep(1e5)"],
    "perl": ["/usr/bin/perl", "-e", "use POSIX; use JSON::PP; $| = 1; print qq(ready\\n); sleep 100000"],
    "ruby": ["/usr/bin/ruby", "-e", "require 'json'; $stdout.sync = true; puts 'ready'; sleep 100000"],
}
TOLERANCE = 1.2
OWN_BYTES = 64_000


def call(*words, **options):
    done = subprocess.run([RUNTIME, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **options)
    if done.returncode:
        sys.exit(f"bench-many: {' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def make_bundle(directory, args):
    (directory / "rootfs").mkdir(parents=True)
    call("spec", cwd=directory)
    path = directory / "config.json"
    spec = json.loads(path.read_text())
    spec["process"].update(args=args, terminal=False)
    spec["root"]["readonly"] = False
    spec["annotations"] = {"dev.fragment.compose": "always"}
    path.write_text(json.dumps(spec))
    return directory


class Machine:
    """Containers under one state directory."""

    def __init__(self, scratch):
        self.state = scratch / "state"
        self.output = scratch / "output"
        self.output.mkdir()
        self.bundles = {name: make_bundle(scratch / name, args) for name, args in SETS.items()}
        self.alive = []

    def create(self, number):
        """Makes a container and starts it; seconds of wall and of processor time of create alone."""
        kind = list(SETS)[number % len(SETS)]
        name = f"many-{os.getpid()}-{number}"
        base = [RUNTIME, "--root", str(self.state)]
        # one that failed half-way is removed too
        self.alive.append(name)
        with open(self.output / name, "wb") as output:
            words = [*base, "create", "--bundle", str(self.bundles[kind]), name]
            # a pipe that nobody writes to: bash reads from it
            took = timed(words, stdin=self.silence, stdout=output)
        call("--root", str(self.state), "start", name)
        return took

    def await_ready(self):
        deadline = time.monotonic() + 300
        for name in self.alive:
            while b"ready" not in (self.output / name).read_bytes():
                if time.monotonic() > deadline:
                    sys.exit(f"bench-many: {name} is not ready: {(self.output / name).read_text()}")
                time.sleep(0.05)

    def pids(self):
        return [json.loads(call("--root", str(self.state), "state", name))["pid"] for name in self.alive]

    def __enter__(self):
        self.silence, self.writer = os.pipe()
        return self

    def __exit__(self, *_):
        for name in self.alive:
            subprocess.run([RUNTIME, "--root", str(self.state), "delete", "--force", name], check=False)


def file_memory(pid):
    """Bytes of mapped files: the resident set and this process's share of it."""
    rss = pss = 0
    mapped = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, value = line.partition(":")
        if "-" in key.split(" ")[0] and " " in key:
            # address perms offset device inode path: pages that were written to are the process's own, and are not counted
            words = line.split(maxsplit=5)
            mapped = len(words) == 6 and words[5].startswith("/")
        elif mapped and key == "Pss":
            share = int(value.split()[0])
        elif mapped and key == "Rss":
            resident = int(value.split()[0])
        elif mapped and key == "Anonymous":
            own = int(value.split()[0])
            rss += resident - own
            pss += share - own
    return rss * 1024, pss * 1024


def disk(path):
    """Bytes of blocks of everything below it, directories included."""
    return int(subprocess.run(["du", "-s", "-B1", path], check=True, capture_output=True, text=True).stdout.split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--window", type=int, default=20, help="containers around the 10th and before the last whose create times are compared")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as well")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a promise is not kept")
    arguments = parser.parse_args()
    # containers are removed then too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench-many: terminated"))
    leases = pathlib.Path(os.environ["FRAGMENT_STORE"]) / "leases"
    with tempfile.TemporaryDirectory(prefix="bench-many-", dir="/run") as scratch, Machine(pathlib.Path(scratch)) as machine:
        os.environ["FRAGMENT_STATE"] = str(pathlib.Path(scratch) / "kept")
        for number in range(5 * len(SETS)):
            # what every set needs is decided, unpacked and in memory
            machine.create(number)
        machine.await_ready()
        for name in machine.alive:
            call("--root", str(machine.state), "delete", "--force", name)
        machine.alive.clear()
        before = (disk(machine.state), disk(leases))
        took = []
        for number in range(arguments.count):
            took.append(machine.create(number))
            if number % 100 == 99:
                print(f"{number + 1} containers", file=sys.stderr, flush=True)
        machine.await_ready()
        after = (disk(machine.state), disk(leases))
        memory = [file_memory(pid) for pid in machine.pids()]
    sets = len(SETS)
    one_of_each = sum(rss for rss, _ in memory[:sets])
    all_resident = sum(rss for rss, _ in memory)
    shared = sum(pss for _, pss in memory)
    own = sum(after) - sum(before)
    window = arguments.window
    first, last = ([statistics.median(times) for times in zip(*some)] for some in (took[:window], took[-window:]))
    figures = {
        "containers": arguments.count,
        "file_bytes_resident_all": all_resident,
        "file_bytes_resident_one_of_each_set": one_of_each,
        "file_bytes_in_memory": shared,
        "own_bytes_per_container": own / arguments.count,
        "create_first_ms": [seconds * 1e3 for seconds in first],
        "create_last_ms": [seconds * 1e3 for seconds in last],
    }
    promises = {
        f"files of all containers are in memory once: {shared / 1e6:.1f} MB, one container of each set {one_of_each / 1e6:.1f} MB, "
        f"a copy for each {all_resident / 1e6:.1f} MB": shared <= one_of_each,
        f"our own files: {own / arguments.count / 1e3:.1f} kB a container, at most {OWN_BYTES / 1e3:.0f}": own / arguments.count <= OWN_BYTES,
        f"create of the last {window}: {last[0] / first[0]:.2f} of the first {window}, at most {TOLERANCE} "
        f"({first[0] * 1e3:.1f} and {last[0] * 1e3:.1f} ms; processor time {last[1] / first[1]:.2f})": last[0] <= TOLERANCE * first[0],
    }
    for text, kept in promises.items():
        print(f"{'ok  ' if kept else 'MISS'} {text}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.check and not all(promises.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
