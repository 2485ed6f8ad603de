"""fragment-runc beside Debian's runc and crun: one run, interleaved, whole processes, medians with 95 % intervals, as ratios to crun.

Absolute times of a shared machine mean little; ratios within one run do. Measured are `run`, the cycle of create, start and delete, exec
and state, with 0 to 16 components composed beside crun on the complete root filesystem, plans kept and made anew, a cold page cache,
many containers, memory, first loads, and the least that a container costs at all. docs/performance.md tells how.
"""

import argparse
import dataclasses
import datetime
import fnmatch
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from . import bundles, cases, figures, machine, measure, memory, plot, report

# part of the processors that other work may have before it is warned of
BUSY = 0.2


def arguments():
    parser = argparse.ArgumentParser(prog="hack/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="samples for every case and runtime [60; 8 with --quick]")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and cases, for a look (2 minutes)")
    parser.add_argument("--many", action="store_true", help="1,000 containers as well, once (5 minutes more)")
    parser.add_argument("--only", metavar="GLOB", default="*", help="cases whose names fit; --list")
    parser.add_argument("--view", choices=[*machine.VIEWS, "all"], default="all", help="how control groups are seen [all]")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write every sample")
    parser.add_argument("--markdown", metavar="FILE", type=pathlib.Path, help="write the tables, between the marks of FILE if it has any")
    parser.add_argument("--svg", metavar="FILE", type=pathlib.Path, help="draw the ratios")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise that was measured is not reached")
    parser.add_argument("--list", action="store_true", help="names of the cases")
    parser.add_argument("--from", metavar="FILE", type=pathlib.Path, dest="result", help="measure nothing: report what --json wrote")
    parser.add_argument("--inside", nargs=3, metavar=("VIEW", "SCRATCH", "DISK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (8 if options.quick else 60)
    return options


def tell(text):
    print(f"hack/bench: {text}", file=sys.stderr, flush=True)


def progress(view):
    """What tells of a round, every twenty seconds."""
    began = told = time.monotonic()

    def after(at, of):
        nonlocal told
        if time.monotonic() - told > 20:
            told = time.monotonic()
            tell(f"{view}: round {at} of {of}, {told - began:.0f} s")

    return after


def inside(options):
    """Measures one view, in the mount namespace that shows it; the result is printed as JSON."""
    view, scratch, disk = options.inside[0], pathlib.Path(options.inside[1]), pathlib.Path(options.inside[2])
    state = scratch / view / "state"
    state.mkdir(parents=True)
    kept = state / "kept"
    environment = {"PATH": os.environ["PATH"], "FRAGMENT_STORE": str(machine.STORE), "FRAGMENT_STATE": str(kept)}
    # what this node configures is not measured
    environment["FRAGMENT_CONFIG"] = "/dev/null"
    # a program that was just built lies in large folios, of which each page costs less: have it read by execution, as after a boot
    programs = [path for path in machine.RUNTIMES.values() if os.path.isfile(path)]
    bundles.on_each(programs, os.fsync)
    bundles.forget(programs)
    stopwatch = measure.Stopwatch(scratch, environment)
    made = bundles.Bundles(scratch, disk, view, environment)
    all_cases = cases.Cases(view, made, state, stopwatch)
    result = {}
    try:
        wanted = all_cases.wanted(options.only, options.quick, options.many and view == "v2")
        measure.measure(wanted, options.rounds, stopwatch, progress(view))
        result["cases"] = {
            case.name: {
                "title": case.title,
                "jobs": case.jobs,
                "contenders": {label: measure.columns(samples) for label, samples in case.samples.items()},
            }
            for case in wanted
        }
        result["own_peaks"] = memory.own_peaks(all_cases, wanted)
        result["components"] = made.chosen
        if fnmatch.fnmatchcase("memory", options.only):
            result["memory"] = memory.measured(all_cases)
    finally:
        # the rest is done whatever else comes
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        measure.delete_all(state, all_cases.runtimes, environment)
        if left := machine.remove_cgroups(stopwatch.mark):
            tell(f"control groups that could not be removed: {' '.join(left)}")
    json.dump(result, sys.stdout)


def of_view(view, options, scratch, disk):
    """What `inside` measured in a private mount namespace of which nothing comes out."""
    passed = ["--rounds", str(options.rounds), "--only", options.only]
    passed += ["--quick"] * options.quick + ["--many"] * options.many + ["--inside", view, scratch, disk]
    shell = f'{machine.set_up(view)}; exec "$@"'
    command = ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", shell, "bench", sys.executable, "-m", "benchmark", *passed]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        output, _ = process.communicate()
    except BaseException:
        # it removes what it made; an interrupt from the terminal has reached it already
        process.terminate()
        process.wait()
        raise
    if process.returncode:
        sys.exit(process.returncode)
    return json.loads(output)


def loads(options):
    """(i): what hack/bench-load measures."""
    with tempfile.NamedTemporaryFile() as file:
        environment = {**os.environ, "FRAGMENT": machine.FRAGMENT, "FRAGMENT_STORE": str(machine.STORE)}
        names = ["core", "tcp-stack", "dns-resolver"] if options.quick else []
        rounds = str(min(options.rounds, 3 if options.quick else 7))
        command = [sys.executable, machine.TOP / "hack/bench-load.py", "--rounds", rounds, "--json", file.name, *names]
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        return json.load(file)


def measured(options):
    if missing := [path for path in [*machine.RUNTIMES.values(), machine.FRAGMENT] if not os.access(path, os.X_OK)]:
        sys.exit(f"hack/bench: not found: {' '.join(missing)}")
    began, spent = time.monotonic(), machine.Spent()
    views = [view for view in machine.views_here() if not (options.quick and view == "hybrid")]
    if options.view != "all":
        views = [options.view]
    for name in ("launch", "floor"):
        machine.compiled(name)
    result = {"date": datetime.date.today().isoformat(), "rounds": options.rounds, "views": {}}
    # state and throw-away bundles are on a tmpfs, as /run is
    with (
        tempfile.TemporaryDirectory(prefix="fragment-bench.", dir="/dev/shm") as scratch,
        tempfile.TemporaryDirectory(prefix="fragment-bench.", dir="/var/tmp") as disk,
    ):
        result["machine"] = machine.facts(scratch, disk)
        for view in views:
            tell(f"{machine.VIEW_TITLES[view]}")
            result["views"][view] = of_view(view, options, scratch, disk)
    if fnmatch.fnmatchcase("loads", options.only):
        tell("first loads")
        result["loads"] = loads(options)
    result["machine"] |= {"program_bytes": machine.stripped_size(machine.RUNTIMES[machine.OURS]), **spent.parts()}
    if result["machine"]["others"] > BUSY:
        tell(f"other work had {result['machine']['others']:.0%} of the processors: wall times are not to be trusted")
    result["minutes"] = (time.monotonic() - began) / 60
    return result


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("hack/bench: terminated"))
    if options.inside:
        inside(options)
        return
    if options.list:
        print(*cases.Cases("v2", None, None, None).known(False, True), "memory", "loads", sep="\n")
        return
    result = json.loads(options.result.read_text()) if options.result else measured(options)
    text = report.markdown(result)
    print(text)
    if options.json:
        result["figures"] = [
            {**dataclasses.asdict(figure), "reached": figure.reached, "sure": figure.sure} for figure in figures.all_of(result)
        ]
        options.json.write_text(json.dumps(result) + "\n")
    if options.markdown:
        report.replace(options.markdown, text)
    if options.svg and (picture := plot.svg(result)):
        options.svg.write_text(picture)
    missed = [figure for figure in figures.all_of(result) if figure.reached is False]
    print(f"{len(missed)} promised figures are not reached" if missed else "every promised figure that was measured is reached")
    if options.check and missed:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
