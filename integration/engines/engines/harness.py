"""Batteries of checks, and how they are run.

An engine is a subclass of `Engine`: it makes its configuration and its images (`start`), is emptied after every check
(`clean`) and taken down (`stop`). One object is made for every runtime, the yardstick first; it runs inside the cage (see
`cage.py`): root, all of /run, /tmp, /var/lib, cgroups, process numbers and the network are this run's own, and /etc is a copy to write in, so an
engine may use its default places (and should where helper processes lose the environment), and what is left behind can be counted.
`run --shell BATTERY --runtime ours` gives a shell there.

A battery is a name and an engine; a check is a function with an engine as its only argument, whose name, with blanks, is the
sentence that is printed:

    docker = Battery("docker", Docker)

    @docker.check
    def the_exit_status_is_the_programs(docker):
        docker.call("run", "--rm", "busybox", "sh", "-c", "exit 7").exits(7)

    @docker.check(thin=True)
    def a_go_program_answers(docker):
        docker.call("run", "--rm", docker.image("go")).ok().prints("hello")

A check raises `Mismatch` (what was expected and what was seen: `expect`, `expect_in`, `expect_match`, `until`, and the methods
of `Finished`), `Skip` (with the reason), or nothing. `check` returns the function as it is: put two decorators on one function,
or call `docker.check(podman_life.some_check)`, and it belongs to two batteries. Everything a check makes in the engine is removed by
`clean`; what remains then (mounts, cgroups, processes, state, leases) makes it fail. It has `engine.scratch`, an empty
directory of its own, and `engine.unique`, a name nobody else has.

A check with `thin=True` is about an image that holds the app alone. The yardstick cannot run such an image: `engine.image(NAME)` is
the thin one for ours and the same app on a whole Debian for the yardstick, and both must do the same. A check with `alone=True` is
about what ours alone can do, and the yardstick is not asked.

A module `engines/NAME.py` or package `engines/NAME/` with a list `BATTERIES` is found by its name in `MODULES`.
expected/BATTERY.list names what the yardstick itself does not pass on this machine: check, tab, reason. Nothing in it excuses ours.
"""

import dataclasses
import importlib
import pathlib
import re
import shutil
import time
import traceback

from . import images, residue
from .commands import LIMIT, Mismatch, Terminal, call

MODULES = ("podman", "buildah", "docker", "containerd", "cri")
EXPECTED = pathlib.Path(__file__).resolve().parent.parent / "expected"
PASSED, FAILED, SKIPPED = "ok", "FAILED", "skipped"


class Skip(Exception):
    """A check that cannot be made here, and why."""


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What an engine is told to run containers with. `path` is a copy in the cage that every user can run, as is `yardstick`,
    for checks that compare what both do."""

    name: str
    path: pathlib.Path
    yardstick: pathlib.Path
    ours: bool


class Engine:
    """An engine with its own storage and configuration, told to use one runtime. Subclasses set `command` (its words) and
    `environment`, and `user` where it does not run as root."""

    command = ()
    environment = None
    user = None
    # what it may leave behind after each check, as regular expressions over "KIND: THING", with the reason beside them
    allowed = ()
    # directories whose entries are containers' state, besides those of the runtimes
    state = ()

    def __init__(self, runtime, base):
        self.runtime = runtime
        self.base = base
        self.scratch = base / "scratch"
        self.unique = "none"

    def start(self):
        """Makes the configuration, starts the daemon if there is one, and loads the images."""

    def clean(self):
        """Removes every container, pod, volume and network that a check has made. Raises what it cannot remove."""

    def stop(self):
        """Ends the daemon, by its process number, and unmounts what is the engine's."""

    def call(self, *words, **options):
        """Runs the engine's command line to its end: a `Finished`. For options see `commands.call`."""
        options.setdefault("limit", LIMIT)
        return call([*self.command, *words], environment=self.environment, user=self.user, **options)

    def ok(self, *words, **options):
        """Standard output of a call that succeeds, without blanks around it."""
        return self.call(*words, **options).ok().output.strip()

    def terminal(self, *words, **options):
        """The engine's command line on a terminal of its own."""
        return Terminal([*self.command, *words], environment=self.environment, user=self.user, **options)

    def image(self, app):
        """The image of an app (`images.APPS`): thin for ours, on a whole Debian for the yardstick."""
        return images.name(app, thin=self.runtime.ours)

    def prepare(self, check):
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.scratch.chmod(0o755)
        if self.user:
            shutil.chown(self.scratch, *self.user)
        self.unique = re.sub(r"[^a-z0-9]+", "-", check.sentence.lower())[:40].strip("-")


@dataclasses.dataclass(frozen=True)
class Check:
    function: object
    thin: bool = False
    alone: bool = False

    @property
    def sentence(self):
        return self.function.__name__.replace("_", " ")


class Battery:
    def __init__(self, name, engine):
        self.name = name
        self.engine = engine
        self.checks = []

    def check(self, function=None, *, thin=False, alone=False):
        if function is None:
            return lambda function: self.check(function, thin=thin, alone=alone)
        added = Check(function, thin, alone)
        if any(added.sentence == check.sentence for check in self.checks):
            raise ValueError(f"{self.name}: two checks are called {added.sentence!r}")
        self.checks.append(added)
        return function


@dataclasses.dataclass
class Verdict:
    word: str
    seconds: float = 0
    why: str = ""


def batteries():
    """All there are, by name."""
    here = pathlib.Path(__file__).parent
    there = [name for name in MODULES if (here / name).is_dir() or (here / f"{name}.py").is_file()]
    modules = [importlib.import_module(f"engines.{name}") for name in there]
    return {battery.name: battery for module in modules for battery in module.BATTERIES}


def judge(engine, check):
    """One check, and what it leaves behind."""
    engine.prepare(check)
    before = residue.snapshot(engine.state)
    began = time.monotonic()
    verdict = Verdict(PASSED)
    try:
        check.function(engine)
    except Skip as reason:
        verdict = Verdict(SKIPPED, why=str(reason))
    except Mismatch as mismatch:
        verdict = Verdict(FAILED, why=str(mismatch))
    except Exception:
        verdict = Verdict(FAILED, why=traceback.format_exc())
    verdict.seconds = time.monotonic() - began
    try:
        engine.clean()
    except Mismatch as mismatch:
        verdict = Verdict(FAILED, verdict.seconds, f"{verdict.why}\nclean: {mismatch}".strip())
    if remains := settled(before, engine):
        verdict = Verdict(FAILED, verdict.seconds, "\n".join(filter(None, [verdict.why, *(f"left behind: {thing}" for thing in remains)])))
    return verdict


def settled(before, engine, limit=5):
    """What is left behind, after some time for what ends by itself (conmon, cleanup commands)."""
    deadline = time.monotonic() + limit
    while True:
        remains = residue.left(before, residue.snapshot(engine.state), engine.allowed)
        if not remains or time.monotonic() > deadline:
            return remains
        time.sleep(0.1)


def run(battery, checks, runtime, base, report):
    """Verdicts of checks under one runtime, by sentence. A failure is tried once more: the machine may have been busy; what
    passes then is told as flaky."""
    engine = battery.engine(runtime, base)
    base.mkdir(parents=True)
    base.chmod(0o755)
    before = residue.snapshot(engine.state)
    verdicts = {}
    try:
        engine.start()
        for check in checks:
            if check.alone and not runtime.ours:
                continue
            verdict = judge(engine, check)
            if verdict.word == FAILED and verdict.seconds < LIMIT:
                again = judge(engine, check)
                if again.word == PASSED:
                    report(f"FLAKY  {battery.name}  {check.sentence}: {verdict.why}")
                    verdict = again
            verdicts[check.sentence] = verdict
            report(f"{battery.name}  {runtime.name:<13} {verdict.word:<7} {verdict.seconds:5.1f} s  {check.sentence}")
            if verdict.word != PASSED:
                report("".join(f"    | {line}\n" for line in verdict.why.splitlines()).rstrip("\n"))
    finally:
        engine.stop()
    # an engine's own parent cgroups may stay, whatever it runs containers with: those of the yardstick are there already
    for thing in settled(before, engine):
        verdicts.setdefault("nothing is left behind", Verdict(FAILED)).why += thing + "\n"
    shutil.rmtree(base, ignore_errors=True)
    return verdicts


def listed(battery):
    """What the yardstick does not pass here: sentence to reason."""
    path = EXPECTED / f"{battery}.list"
    found = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        if line and not line.startswith("#"):
            name, _, reason = line.partition("\t")
            if not reason.strip() or name in found:
                raise SystemExit(f"{path}:{number}: not a new check, a tab and a reason")
            found[name] = reason
    return found


def compare(battery, verdicts, yardstick, ours, whole):
    """What is wrong: sentence and why. `whole`: every check of the battery was run."""
    reasons = listed(battery.name)
    wrong = {}
    for sentence in {**verdicts.get(yardstick, {}), **verdicts.get(ours, {})}:
        theirs = verdicts.get(yardstick, {}).get(sentence)
        mine = verdicts.get(ours, {}).get(sentence)
        if theirs and theirs.word == PASSED and sentence in reasons:
            wrong[sentence] = f"listed in expected/{battery.name}.list and passes under {yardstick}"
        elif theirs and theirs.word != PASSED and sentence not in reasons:
            wrong[sentence] = f"{theirs.word} under {yardstick}, and expected/{battery.name}.list has no reason for it"
        elif mine and mine.word != PASSED and sentence not in reasons:
            wrong[sentence] = f"{mine.word} under {ours}" + (f", passes under {yardstick}" if theirs else "")
    if whole:
        for sentence in reasons.keys() - {check.sentence for check in battery.checks}:
            wrong[sentence] = "listed, and there is no such check"
    return wrong
