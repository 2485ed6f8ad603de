"""What corpus and archive have in common: a case in the reference root, and on the bare bundle composed from a library."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib

import cases
import container
import fixtures
import lone
import root

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
CAGE = TOP / "integration/conformance/cage"
YARDSTICK = "/usr/sbin/runc"
FAILED = re.compile(r'^\d+ +(\w+)\(.*?"(/[^"]*)".*= -1 ENOENT')
# what is the kernel's, made at run time, or looked for by every program
BESIDE = ("/proc/", "/sys/", "/dev/", "/run/", "/etc/ld.so.cache")


def arguments(parser):
    """The options both batteries have."""
    parser.add_argument("--reference", type=pathlib.Path, default=os.environ.get("CORPUS_REFERENCE", TOP / "target/corpus/reference"), help="the root made by `reference` ($CORPUS_REFERENCE, target/corpus/reference)")
    parser.add_argument("--archives", type=pathlib.Path, help="where the .deb files of the reference are (REFERENCE.debs)")
    parser.add_argument("--store", type=pathlib.Path, default=os.environ.get("FRAGMENT_STORE", TOP / "target/library"), help="the library ($FRAGMENT_STORE, target/library)")
    parser.add_argument("--runtime", default=os.environ.get("FRAGMENT_RUNC", TOP / "target/bin/fragment-runc"))
    parser.add_argument("--fragment", default=os.environ.get("FRAGMENT", TOP / "target/bin/fragment"))
    parser.add_argument("--yardstick", default=os.environ.get("YARDSTICK", YARDSTICK), help="the runtime of the reference")
    parser.add_argument("--work", type=pathlib.Path, default=TOP / "target/corpus/work", help="a directory for what is made on the way, on a file system for overlays")
    parser.add_argument("--only", metavar="PATTERN", help="only those whose name (or category) this regular expression matches")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--patience", type=float, default=2.0, help="what every time limit is multiplied with")
    parser.add_argument("--skip-reference", action="store_true", help="do not run them in the reference again")
    parser.add_argument("--skip-composed", action="store_true", help="run them in the reference only")
    parser.add_argument("--update-list", action="store_true", help="write the list of expected failures anew; reasons that are there stay")
    parser.add_argument("--report", type=pathlib.Path, default=None, help="where the reports go, without a suffix")


def caged(options):
    """Starts the program again in a cage, whose end takes processes, mounts and cgroups with it however it comes; then the files."""
    if "CORPUS_CAGED" in os.environ:
        return
    words = [str(CAGE), sys.executable, "-B", *sys.argv]
    # in a session of its own: Ctrl-C reaches it once, through us, and its cleaning up is not interrupted
    cage = subprocess.Popen(words, env={**os.environ, "CORPUS_CAGED": "yes"}, start_new_session=True)
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(*_):
        for number in ends:
            signal.signal(number, signal.SIG_IGN)
        cage.terminate()

    for number in ends:
        signal.signal(number, stop)
    status = cage.wait()
    shutil.rmtree(options.work, ignore_errors=True)
    sys.exit(status)


class Battery:
    """Reference root, library and runtimes of a run."""

    def __init__(self, options):
        self.options = options
        self.reference = root.Reference(options.reference)
        self.lone = lone.Lone(self.reference, options.archives)
        self.work = options.work.absolute() / str(os.getpid())
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.yardstick = container.Runtime(options.yardstick, self.work / "state.yardstick")
        store = {"FRAGMENT_STORE": str(options.store.absolute())}
        self.runtime = container.Runtime(options.runtime, self.work / "state", store)
        self.programs = self.work.parent.with_name("programs")
        self.lock = threading.Lock()

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)

    @contextlib.contextmanager
    def directory(self, case, what):
        place = self.work / f"{case.id}.{what}"
        place.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def program(self, name):
        """The path of a compiled program of ours, made in the reference root the first time."""
        with self.lock:
            sources = b"".join(file.read_bytes() for file in sorted((HERE / "programs").iterdir()))
            out = self.programs / hashlib.sha256(sources).hexdigest()[:12] / name
            if not out.exists():
                out.parent.mkdir(parents=True, exist_ok=True)
                self.compile(name, out)
            return out

    def compile(self, name, out):
        table = tomllib.loads((HERE / "programs/programs.toml").read_text())
        case = cases.Case(id=f"compile-{name}", category="", argv=["/bin/sh", "-ec", f"cd /src; out=/out; {table['commands'][name]}"], env={"HOME": "/tmp"}, timeout=300)
        place = self.work / case.id
        with root.overlay(place, [self.reference.path]) as rootfs:
            shutil.copytree(HERE / "programs", rootfs / "src")
            result = self.start(self.yardstick, case, place, rootfs, case.id)
            if result.status != 0:
                raise RuntimeError(f"compiling {name}: {result.stdout}{result.stderr}")
            shutil.copy(rootfs / "out", out)

    def start(self, runtime, case, place, rootfs, name, before=()):
        (place / "config.json").write_text(json.dumps(container.configuration(case, rootfs, name)))
        return runtime.run(case, place, name, self.options.patience, before)

    def put(self, case, rootfs):
        """The case's own files."""
        for path, value in case.files.items():
            data, mode = fixtures.content(value, self.program)
            file = rootfs / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.parent.resolve().is_relative_to(rootfs.resolve()):
                raise ValueError(f"{case.id}: {path} leaves the root through a link")
            file.write_bytes(data)
            file.chmod(mode)

    def in_reference(self, case):
        """A run in the full root."""
        return self.in_debian(case, [self.reference.path])

    def alone(self, case):
        """A run in a Debian root with the case's package and what it depends on."""
        return self.in_debian(case, self.lone.layers(case.package))

    def in_debian(self, case, lowers):
        place = self.work / f"{case.id}.reference"
        with root.overlay(place, lowers) as rootfs:
            self.put(case, rootfs)
            return self.start(self.yardstick, case, place, rootfs, f"reference-{case.id}")

    def bare(self, case, place):
        """The bundle that holds the app alone."""
        rootfs = place / "rootfs"
        rootfs.mkdir()
        if case.package:
            self.reference.copy(case.package, rootfs, case.layout)
        self.put(case, rootfs)
        (place / "config.json").write_text(json.dumps(container.configuration(case, rootfs, f"corpus-{case.id}")))
        return rootfs

    def composed(self, case):
        """A run on the bare bundle: the result and the plan it ran with (or why there is none)."""
        with self.directory(case, "composed") as place:
            rootfs = self.bare(case, place)
            plan = self.plan(place)
            return self.start(self.runtime, case, place, rootfs, f"corpus-{case.id}"), plan

    def plan(self, place):
        words = [str(self.options.fragment), "plan", "--json", "--bundle", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, env=self.runtime.environment, timeout=120)
        if done.returncode:
            return {"refused": done.stderr.strip()}
        return json.loads(done.stdout)["plan"]

    def missing(self, case):
        """What the program looked for in vain and the reference has: a run of the bare bundle under strace. Path and owner, in order."""
        with self.directory(case, "traced") as place:
            rootfs, log = self.bare(case, place), place / "trace"
            before = ["strace", "-f", "-qq", "-e", "trace=%file", "-e", "signal=none", "-s", "300", "-o", str(log)]
            with contextlib.suppress(subprocess.SubprocessError):
                self.start(self.runtime, case, place, rootfs, f"traced-{case.id}", before)
            found, started = {}, False
            for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
                # before it come the runtime's own look-ups
                started = started or f'execve("{case.argv[0]}"' in line
                failed = FAILED.match(line) if started else None
                path = failed and failed.group(2)
                if path and not path.startswith(BESIDE) and os.path.lexists(f"{self.reference.path}{path}") and not os.path.isdir(f"{self.reference.path}{path}"):
                    found.setdefault(path, self.owner(path))
            return found

    def owner(self, path):
        try:
            real = os.path.realpath(f"{self.reference.path}{path}").removeprefix(str(self.reference.path.resolve()))
            return self.reference.owners.get(root.merged(path)) or self.reference.owners.get(root.merged(real)) or "generated"
        except OSError:
            return "generated"


def provision(battery, case, plan):
    """Components and bytes of a plan beside the bytes of what the package (or, of a script, what it is installed with) depends on."""
    if "refused" in plan:
        return {"refused": plan["refused"]}
    layers = plan["layers"]
    own = {case.package} if case.package else set()
    closure = battery.reference.closure(case.packages) - own
    depends = sum(battery.reference.size(name) for name in closure)
    composed = plan["size"]["plain"]
    return {
        "components": [layer["name"] for layer in layers],
        "unasked": [layer["name"] for layer in layers if not layer["reasons"] or all(reason["because"] == "core" for reason in layer["reasons"])],
        "composed": composed,
        "depends": depends,
        "ratio": round(composed / depends, 3) if depends and case.packages else None,
    }
