"""How cases are measured: round by round, one contender after the other, by the stopwatch (launch.c)."""

import dataclasses
import os
import shutil
import subprocess
import sys

from . import machine

# the first rounds fill caches
WARM_UP = 2


@dataclasses.dataclass
class Contender:
    """One of those that are compared. `steps` are (name, words) pairs; words None: the end of the container is waited for."""

    label: str
    steps: list
    prepare: object = None


@dataclasses.dataclass
class Case:
    """One thing to measure. `jobs` sequences, `parallel` of them at a time, are one sample; `share` is the part of the rounds it gets."""

    name: str
    title: str
    contenders: list
    jobs: int = 1
    parallel: int = 1
    share: float = 1.0
    samples: dict = dataclasses.field(default_factory=dict)


class Stopwatch:
    """Runs steps with launch.c. `mark` begins the names of all containers."""

    def __init__(self, scratch, environment):
        self.scratch, self.environment = scratch, environment
        self.mark = f"bench-{os.getpid()}"
        self.program = machine.compiled("launch")
        self.count = 0

    def once(self, contender, jobs=1, parallel=1, limit=60):
        """One sample: {"wall_ms", "cpu_ms", "peak_kib", "steps": {NAME: {the same}}}; of many jobs the wall time of all, and no steps.

        The wall time is that of the commands; what passes until a container's program has ended is in the step `gone` alone. The processor
        time is that of everything, the container's first process included. The peak is the largest of the commands'.
        """
        self.count += 1
        names = {"NAME": f"{self.mark}-{self.count}-%", "PID_FILE": f"{self.scratch}/pid-{self.count}-%"}
        words = [self.program, "--jobs", str(jobs), "--parallel", str(parallel), "--limit", str(limit), "--pid-file", names["PID_FILE"]]
        for _, step in contender.steps:
            words += ["--gone"] if step is None else ["--step", *(names.get(word, str(word)) for word in step)]
        if contender.prepare:
            contender.prepare()
        done = subprocess.run(words, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            late = f"not done after {limit} s" if done.returncode == 124 else done.stderr.strip()
            sys.exit(f"hack/bench: {contender.label}: {late}\n  {' '.join(words)}")
        return self.read(contender, done.stdout.split("\n"), jobs)

    def read(self, contender, lines, jobs):
        steps, total = {}, 0.0
        for line in lines:
            match line.split():
                case ["total", wall]:
                    total = int(wall) / 1e6
                case [_, step, wall, cpu, peak]:
                    name = contender.steps[int(step)][0]
                    had = steps.setdefault(name, {"wall_ms": 0.0, "cpu_ms": 0.0, "peak_kib": 0})
                    had["wall_ms"] += int(wall) / 1e6
                    had["cpu_ms"] += int(cpu) / 1e3
                    had["peak_kib"] = max(had["peak_kib"], int(peak))
        commands = [step for name, step in steps.items() if name != "gone"]
        sample = {
            "wall_ms": total if jobs > 1 else sum(step["wall_ms"] for step in commands),
            "cpu_ms": sum(step["cpu_ms"] for step in steps.values()),
            "peak_kib": max(step["peak_kib"] for step in commands),
        }
        if jobs == 1 and len(steps) > 1:
            sample["steps"] = steps
        return sample


def measure(cases, rounds, stopwatch, tell):
    """Fills the samples of the cases. Contenders take turns, and each round begins with another one of them."""
    for case in cases:
        case.samples = {contender.label: [] for contender in case.contenders}
    for round_ in range(rounds + WARM_UP if cases else 0):
        for case in cases:
            wanted = max(1, round(rounds * case.share))
            # a case of many containers warms itself up
            warm = 0 if case.jobs > 1 else WARM_UP
            if round_ >= wanted + warm:
                continue
            turn = round_ % len(case.contenders)
            for contender in case.contenders[turn:] + case.contenders[:turn]:
                sample = stopwatch.once(contender, case.jobs, case.parallel, limit=60 + case.jobs)
                if round_ >= warm:
                    case.samples[contender.label].append(sample)
        tell(round_ + 1, rounds + WARM_UP)


def columns(samples):
    """The same samples as lists: {"wall_ms": […], …, "steps": {NAME: {"wall_ms": […], …}}}."""
    made = {key: [sample[key] for sample in samples] for key in ("wall_ms", "cpu_ms", "peak_kib")}
    if "steps" in samples[0]:
        made["steps"] = {name: columns([sample["steps"][name] for sample in samples]) for name in samples[0]["steps"]}
    return made


def delete_all(state, runtimes, environment):
    """Removes what is left of containers below the state directories."""
    for name in runtimes:
        for place in (state / name, state / name / ".fragment"):
            for container in os.listdir(place) if place.is_dir() else []:
                if container.startswith("bench-"):
                    words = [machine.RUNTIMES[name], "--root", str(state / name), "delete", "--force", container]
                    subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
        shutil.rmtree(state / name, ignore_errors=True)
