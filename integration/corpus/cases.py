"""The cases: what is run, in what, and what has to come of it. A file of cases/ is a category, a table of it a case."""

import dataclasses
import pathlib
import re
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
FIELDS = {"package", "install", "argv", "env", "cwd", "uid", "gid", "stdin", "tty", "files", "probe", "layout", "timeout", "tags", "exit", "stdout", "output", "annotations"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One command. `exit` None is any; `stdout` and `output` (standard error after standard output) are regular expressions."""

    id: str
    category: str
    argv: list
    package: str | None = None
    install: list = dataclasses.field(default_factory=list)
    env: dict = dataclasses.field(default_factory=dict)
    cwd: str = "/"
    uid: int = 0
    gid: int = 0
    stdin: str | None = None
    tty: bool = False
    files: dict = dataclasses.field(default_factory=dict)
    probe: dict | None = None
    layout: str = "merged"
    timeout: int = 30
    tags: list = dataclasses.field(default_factory=list)
    annotations: dict = dataclasses.field(default_factory=dict)
    exit: int | None = 0
    stdout: str | None = None
    output: str | None = None

    @property
    def kind(self):
        """What the bundle holds besides `files`: a package's files, or nothing (a script, a program of ours)."""
        if self.package:
            return "package"
        return "binary" if self.files.get(self.argv[0], "").startswith("@bin:") else "script"

    @property
    def packages(self):
        """What a complete system has installed to run it."""
        return ([self.package] if self.package else []) + self.install

    def judge(self, result):
        """Why a result is not what is expected, or None."""
        if self.probe:
            if result.reply is None:
                return f"no answer on port {self.probe['port']}"
            found = re.search(self.probe["re"], result.reply)
            return None if found else f"answer {result.reply[:80]!r} is not {self.probe['re']!r}"
        if result.timeout:
            return f"still running after {self.timeout} s"
        if self.exit is not None and result.status != self.exit:
            return f"exit status {result.status}, not {self.exit}"
        if self.stdout is not None and not re.search(self.stdout, result.stdout):
            return f"standard output {result.stdout[:80]!r} is not {self.stdout!r}"
        if self.output is not None and not re.search(self.output, result.stdout + result.stderr):
            return f"output {(result.stdout + result.stderr)[:80]!r} is not {self.output!r}"
        return None


def load(only=None):
    """All cases by category; those whose id or category `only` (a regular expression) matches."""
    found = {}
    for file in sorted((HERE / "cases").glob("*.toml")):
        for id, table in tomllib.loads(file.read_text()).items():
            unknown = table.keys() - FIELDS
            if unknown:
                raise ValueError(f"{file.name}: {id}: unknown {', '.join(sorted(unknown))}")
            if id in found:
                raise ValueError(f"{file.name}: {id}: there is one in {found[id].category}.toml")
            if table.get("exit") == "any":
                table["exit"] = None
            found[id] = Case(id=id, category=file.stem, **table)
    return [case for case in found.values() if not only or re.fullmatch(only, case.id) or re.fullmatch(only, case.category)]


def packages(chosen):
    return {name for case in chosen for name in case.packages}


def differences(chosen, shared, text):
    """What of the shared sample is missing here or says something else; `text` gives the content of a named fixture, if it has a fixed one."""
    here = {case.id: case for case in chosen}
    for other in shared:
        case = here.get(other["id"])
        if case is None:
            yield f"{other['id']}: is not here"
            continue
        expect = other["expect"]
        pattern = expect["re"]
        ours = case.output if expect["err"] else case.stdout
        pairs = {name: (getattr(case, name), other[name]) for name in ("kind", "package", "install", "argv", "env", "cwd", "uid", "gid", "stdin", "tty", "layout", "timeout")}
        pairs["files"] = ({path: text(value) for path, value in case.files.items()}, {path: text(value) for path, value in other["files"].items()})
        pairs["probe"] = (case.probe, other["probe"])
        pairs["exit"] = (case.exit, expect["exit"])
        # a pattern of the sample that begins in the middle of the output says so here
        pairs["pattern"] = (ours.removeprefix("(?m)") if ours else None, pattern)
        for name, (mine, theirs) in pairs.items():
            if mine != theirs:
                yield f"{other['id']}: {name} is {mine!r}, not {theirs!r}"
