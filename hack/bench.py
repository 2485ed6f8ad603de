"""Side-by-side benchmark of OCI runtimes: medians of wall time, interleaved A B C A B C, as ratios to crun.

Absolute times of a shared machine mean nothing; ratios within one run do.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from stopwatch import timed

TOP = pathlib.Path(__file__).resolve().parent.parent
RUNTIMES = {
    "crun": "/usr/bin/crun",
    "runc": "/usr/sbin/runc",
    "fragment-runc": str(TOP / "target/bin/fragment-runc"),
}
# the dynamic program of the composed case, and everything it needs in the full rootfs
PROGRAM = "/usr/bin/env"


def make_bundle(directory, files, args):
    rootfs = directory / "rootfs"
    rootfs.mkdir(parents=True)
    for source, target in files:
        destination = rootfs / target.lstrip("/")
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, destination)
    subprocess.run([RUNTIMES["runc"], "spec"], cwd=directory, check=True)
    path = directory / "config.json"
    spec = json.loads(path.read_text())
    spec["process"].update(args=args, terminal=False)
    spec["root"]["readonly"] = False
    path.write_text(json.dumps(spec))
    return directory


def needed_files(program):
    """(source, target) of a dynamic program with its loader and libraries."""
    files = [(program, program)]
    for word in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.split():
        if word.startswith("/"):
            files.append((word, word))
    return files


class Case:
    """One thing to measure for every runtime."""

    def __init__(self, name, bundles, steps):
        self.name, self.bundles, self.steps = name, bundles, steps
        self.samples = {runtime: [] for runtime in bundles}

    def once(self, runtime, state, number):
        base = [RUNTIMES[runtime], "--root", str(state / runtime)]
        bundle, name = str(self.bundles[runtime]), f"bench-{os.getpid()}-{number}"
        if self.steps == "run":
            return timed(base + ["run", "--bundle", bundle, name])[0]
        total = timed(base + ["create", "--bundle", bundle, name])[0]
        total += timed(base + ["start", name])[0]
        deadline = time.monotonic() + 10
        while json.loads(subprocess.run(base + ["state", name], check=True, capture_output=True).stdout)["status"] != "stopped":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{runtime}: {name} did not stop")
            time.sleep(0.001)
        return total + timed(base + ["delete", name])[0]


def interval(samples):
    """Median and its 95 % confidence interval by bootstrap."""
    source = random.Random(1)
    medians = sorted(statistics.median(source.choices(samples, k=len(samples))) for _ in range(500))
    return statistics.median(samples), medians[12], medians[487]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="samples for every case and runtime (default 60)")
    parser.add_argument("--json", metavar="FILE", help="write every sample to FILE")
    options = parser.parse_args()
    missing = [path for path in RUNTIMES.values() if not os.access(path, os.X_OK)]
    if missing:
        sys.exit(f"bench: not found: {' '.join(missing)}")

    # state directories are on a tmpfs, as /run is; so are the bundles of throw-away containers
    with tempfile.TemporaryDirectory(prefix="fragment-bench.", dir="/dev/shm") as work, tempfile.TemporaryDirectory(
        prefix="fragment-bench.", dir="/var/tmp"
    ) as disk:
        work, disk = pathlib.Path(work), pathlib.Path(disk)
        static = make_bundle(work / "static", [("/bin/busybox", "/bin/true")], ["/bin/true"])
        full = make_bundle(work / "full", needed_files(PROGRAM), [PROGRAM])
        thin = make_bundle(work / "thin", [(PROGRAM, PROGRAM)], [PROGRAM])
        plain = {runtime: static for runtime in RUNTIMES}
        composed = {"crun": full, "runc": full, "fragment-runc": thin}
        full = make_bundle(disk / "full", needed_files(PROGRAM), [PROGRAM])
        thin = make_bundle(disk / "thin", [(PROGRAM, PROGRAM)], [PROGRAM])
        kept = {"crun": full, "runc": full, "fragment-runc": thin}
        cases = [
            Case("run, plain", plain, "run"),
            Case("create + start + delete, plain", plain, "cycle"),
            Case("run, composed (others: complete rootfs)", composed, "run"),
            Case("create + start + delete, composed", composed, "cycle"),
            # what is written stays; the end of the overlay waits for the file system of its upper directory
            Case("create + start + delete, composed, bundle on disk", kept, "cycle"),
        ]
        try:
            measure(cases, options, work)
        finally:
            for runtime, path in RUNTIMES.items():
                state = work / runtime
                for name in os.listdir(state) if state.is_dir() else []:
                    subprocess.run([path, "--root", str(state), "delete", "--force", name], check=False)
        report(cases, options)


def measure(cases, options, work):
    number = 0
    for round_ in range(options.rounds + 3):
        for case in cases:
            for runtime in RUNTIMES:
                number += 1
                sample = case.once(runtime, work, number)
                if round_ >= 3:  # the first rounds warm caches
                    case.samples[runtime].append(sample)


def report(cases, options):
    print(f"\nmedian of {options.rounds}, milliseconds [95 % interval], and the ratio to crun\n")
    for case in cases:
        print(case.name)
        crun = statistics.median(case.samples["crun"])
        for runtime, samples in case.samples.items():
            middle, low, high = interval(samples)
            print(f"  {runtime:14} {middle * 1e3:7.2f} [{low * 1e3:6.2f}, {high * 1e3:6.2f}]   x {middle / crun:.2f}")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({case.name: case.samples for case in cases}))


if __name__ == "__main__":
    main()
