"""The suites: which tests they have, how one of them is run under a runtime, and what its output says."""

import os
import pathlib
import re
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent


class Bats:
    """runc's integration tests, from Debian's source package of runc."""

    name = "bats"
    timeout = 120

    def __init__(self, cache):
        self.directory = cache / "runc/tests/integration"

    def tests(self):
        for path in sorted(self.directory.glob("*.bats")):
            for name in re.findall(r'^@test "(.*)" \{', path.read_text(), re.MULTILINE):
                # as bats reads it: the name is a double-quoted word of the shell
                yield path.stem, re.sub(r"\\(.)", r"\1", name)

    def command(self, file, names, runtime, scratch):
        quoted = [re.sub(r"([][\\.*^$+?(){}|])", r"\\\1", name) for name in names]
        pattern = f"^({'|'.join(quoted)})$"
        environment = {
            "RUNC": str(runtime),
            # short: a unix socket's path has 107 bytes
            "TMPDIR": str(scratch),
            "TERM": "xterm",
        }
        if not shutil.which("gcc"):
            environment["PATH"] = f"{HERE}/stand-ins/without-compiler:{os.environ['PATH']}"
        if "update rt period and runtime" in names:
            environment["CAGE_REALTIME"] = "yes"
        return ["bats", "--tap", "--filter", pattern, str(self.directory / f"{file}.bats")], environment, scratch

    verdicts = staticmethod(lambda status, output, names: tap_verdicts(status, output, names))


class Python:
    """crun's tests, from Debian's source package of crun."""

    name = "python"
    timeout = 30

    def __init__(self, cache):
        self.directory = cache / "crun/tests"

    def tests(self):
        for path in sorted(self.directory.glob("test_*.py")):
            table = re.search(r"^all_tests = \{(.*?)^\}", path.read_text(), re.MULTILINE | re.DOTALL)
            for name in re.findall(r'^\s*"([^"]+)"\s*:', table.group(1), re.MULTILINE):
                yield path.stem, name

    def command(self, file, names, runtime, scratch):
        # some tests name tests/init
        (scratch / "tests").symlink_to(self.directory)
        environment = {
            "OCI_RUNTIME": str(HERE / "adapters/crun"),
            "CONFORMANCE_RUNTIME": str(runtime),
            "CONFORMANCE_LOG": str(scratch / "runtime.log"),
            "INIT": str(self.directory / "init"),
            "RUN_TESTS": " ".join(names),
            "TMPDIR": str(scratch),
            "PYTHONPATH": str(HERE / "stand-ins"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if runtime.name == "crun":
            environment["OCI_RUNTIME"] = str(runtime)
        return [sys.executable, str(self.directory / f"{file}.py")], environment, scratch

    @staticmethod
    def verdicts(status, output, names):
        # what a test prints without an end of line stands before its result
        return tap_verdicts(status, re.sub(r"(?<=.)(?<!not )((?:not )?ok \d+ - )", r"\n\1", output), names)


class Validation:
    """The validation programs of the OCI runtime-tools, from a newer Debian release's source package."""

    name = "validation"
    timeout = 90

    def __init__(self, cache):
        self.directory = cache / "validation"

    def tests(self):
        for path in sorted(self.directory.glob("*.t")):
            yield "validation", path.stem

    def command(self, file, names, runtime, scratch):
        (name,) = names
        for path in self.directory.iterdir():
            # a symbolic link would be copied into the bundle as one
            if not path.name.endswith(".t"):
                shutil.copy(path, scratch)
        (scratch / "state").mkdir()
        (scratch / "tmp").mkdir()
        # a container's user has to reach the bundle
        for directory in scratch, scratch / "tmp":
            directory.chmod(0o755)
        environment = {
            "RUNTIME": str(HERE / "adapters/rooted"),
            "CONFORMANCE_RUNTIME": str(runtime),
            "CONFORMANCE_ROOT": str(scratch / "state"),
            "CONFORMANCE_LOG": str(scratch / "runtime.log"),
            "TMPDIR": str(scratch / "tmp"),
        }
        return [str(self.directory / f"{name}.t")], environment, scratch

    verdicts = staticmethod(lambda status, output, names: {names[0]: tap_verdict(status, output)})


def tap_verdicts(status, output, names):
    """Each test's verdict, where one check is one test; of a single one all that was printed counts."""
    if len(names) == 1:
        return {names[0]: tap_verdict(status, output)}
    told = re.findall(r"^((?:not )?ok) \d+ (?:- )?(.*?) *(# *skip.*)?$", output, re.MULTILINE | re.IGNORECASE)
    found = {name: "failed" if word != "ok" else "skipped" if skipped else "passed" for word, name, skipped in told}
    # one that nothing is told of was not reached
    return {name: found.get(name, "failed") for name in names}


def tap_verdict(status, output):
    """`passed`, `failed` or `skipped`, from a Test Anything Protocol output with one or more checks."""
    passed = failed = skipped = 0
    for line in output.splitlines():
        match = re.match(r"(not )?ok\b\s*\d*(.*)", line.strip())
        if not match:
            continue
        directive = re.search(r"#\s*(skip|todo)", match.group(2), re.IGNORECASE)
        if directive and directive.group(1).lower() == "skip":
            skipped += 1
        elif match.group(1) and not directive:
            failed += 1
        else:
            passed += 1
    if failed or status != 0:
        return "failed"
    if passed:
        return "passed"
    return "skipped" if skipped else "failed"


SUITES = {suite.name: suite for suite in (Bats, Python, Validation)}


def remove(directory):
    """Removes a test's directory, also when it made something immutable of it by its permissions."""

    def retry(function, path, _error):
        os.chmod(os.path.dirname(path), 0o700)
        function(path)

    shutil.rmtree(directory, onerror=retry)
