"""What containers are made of: bundles that hold their program alone, and the complete root filesystems of the same files."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from . import machine

# does nothing, and is linked dynamically: Debian's `true`, where no component is known to have it
PROGRAM = "/app/true"
SOURCES = {PROGRAM: "/usr/bin/true"}
# a program of many libraries, and what makes it end at once
LIBRARIES_PROGRAM = ["/usr/bin/curl", "--version"]
OFF = {"dev.fragment.compose": "off"}


def call(*command, limit=120, **options):
    """Standard output of a command that has to succeed."""
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False, **options
    )
    if done.returncode:
        sys.exit(f"hack/bench: {' '.join(map(str, command))}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def libraries(program):
    """Paths of what the dynamic program loads: its loader and its libraries."""
    return [word for word in call("ldd", program).split() if word.startswith("/")]


def naming(names):
    """Annotations that have components composed, needed or not."""
    return {"dev.fragment.components": ",".join(names)} if names else {}


class Bundles:
    """Makes root filesystems once and bundles of them for one view.

    `scratch` is on a tmpfs, as is what engines throw away; `disk` is a file system that keeps things.
    """

    def __init__(self, scratch, disk, view, environment):
        self.scratch, self.disk, self.view, self.environment = pathlib.Path(scratch), pathlib.Path(disk), view, environment
        self.chosen = {}

    def bundle(self, name, rootfs, args, *, readonly=False, annotations=None, base=None):
        """Directory of a bundle; its configuration is what `runc spec` writes in this view, but for the arguments."""
        directory = (base or self.scratch) / self.view / name
        directory.mkdir(parents=True)
        call(machine.RUNTIMES["runc"], "spec", cwd=directory)
        path = directory / "config.json"
        spec = json.loads(path.read_text())
        spec["process"].update(args=args, terminal=False)
        spec["root"] = {"path": str(rootfs), "readonly": readonly}
        spec["annotations"] = annotations or {}
        if self.view == "v2" and not machine.may_raise_limits():
            # rules for devices are a BPF program there: crun raises RLIMIT_MEMLOCK for it, which takes CAP_SYS_RESOURCE
            del spec["linux"]["resources"]
        path.write_text(json.dumps(spec))
        return directory

    def rootfs(self, name, fill, base=None):
        """Directory of a root filesystem that `fill` makes, the first time, in the directory it is given."""
        directory = (base or self.scratch) / "rootfs" / name
        if not directory.exists():
            made = directory.with_name(f".{name}")
            made.mkdir(parents=True)
            fill(made)
            made.rename(directory)
        return directory

    def static(self):
        """One static program by two names: `true`, and `sleep`, which stays."""

        def fill(root):
            (root / "bin").mkdir()
            shutil.copy("/bin/busybox", root / "bin/true")
            (root / "bin/sleep").hardlink_to(root / "bin/true")

        return self.rootfs("static", fill)

    def thin(self, program=PROGRAM, suffix="", base=None):
        """The program alone. `suffix`: a root of its own, as each is the upper directory of one container at a time."""

        def fill(root):
            place = root / program.lstrip("/")
            place.parent.mkdir(parents=True)
            shutil.copy(SOURCES.get(program, program), place)
            flush(root)

        return self.rootfs(f"thin-{os.path.basename(program)}{suffix}", fill, base)

    def plan(self, bundle):
        """What would be composed for the bundle, as `fragment plan --json` tells it."""
        return json.loads(call(machine.FRAGMENT, "plan", "--bundle", bundle, "--json", env=self.environment))["plan"]

    def components(self, count):
        """Names to ask for such that exactly `count` components are composed for PROGRAM, its own needs included; the smallest are taken.

        What a component requires comes with it, so that is tried out.
        """
        if count in self.chosen:
            return self.chosen[count]
        bundle = self.bundle(f"choice-{count}", self.thin(), [PROGRAM])
        known = json.loads(call(machine.FRAGMENT, "library", "list", "--json", env=self.environment))
        known.sort(key=lambda one: (one["size"]["stored"], one["name"]) if isinstance(one.get("size"), dict) else (0, one["name"]))
        names, had = [], len(self.plan(bundle)["layers"])
        for one in known:
            if had == count:
                break
            if not one["name"].startswith("lib"):
                continue
            annotate(bundle, naming([*names, one["name"]]))
            with_it = len(self.plan(bundle)["layers"])
            if had < with_it <= count:
                names, had = [*names, one["name"]], with_it
        if had != count:
            sys.exit(f"hack/bench: the library at {machine.STORE} has nothing that makes {count} components for {PROGRAM}")
        self.chosen[count] = names
        return names

    def complete(self, name, thin, args, annotations, base=None):
        """The root filesystem that a composed container sees, as plain files: what the other runtimes are given.

        It is copied out of a container that was composed, so it holds the same files, those that were made for the composition included.
        """

        def fill(root):
            bundle = self.bundle(f"copied-{name}", thin, args, readonly=True, annotations=annotations, base=base)
            command = [machine.RUNTIMES[machine.OURS], "--root", self.scratch / "state-copied"]
            container, pid_file = f"bench-{os.getpid()}-copied", self.scratch / "copied.pid"
            try:
                # not to a pipe: the container holds what it is given open
                with open(self.scratch / "copied.log", "w+", encoding="utf-8") as log:
                    words = [*command, "create", "--bundle", bundle, "--pid-file", pid_file, container]
                    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                    if subprocess.run(words, env=self.environment, timeout=60, check=False, **streams).returncode:
                        log.seek(0)
                        sys.exit(f"hack/bench: a composed container cannot be made: {log.read()}")
                call("cp", "-a", "-x", f"/proc/{pid_file.read_text().strip()}/root/.", root)
            finally:
                subprocess.run([*command, "delete", "--force", container], env=self.environment, timeout=60, check=False)
            flush(root)

        return self.rootfs(f"complete-{name}", fill, base)


def annotate(bundle, annotations):
    """Gives a bundle other annotations."""
    path = bundle / "config.json"
    spec = json.loads(path.read_text())
    spec["annotations"] = annotations
    path.write_text(json.dumps(spec))


def files_below(*directories):
    for directory in directories:
        for parent, _, names in os.walk(directory):
            yield from (os.path.join(parent, name) for name in names)


def on_each(paths, what):
    """Calls `what` with a descriptor of each of the regular files."""
    for path in paths:
        if os.path.isfile(path) and not os.path.islink(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                what(descriptor)
            finally:
                os.close(descriptor)


def flush(root):
    """Writes the files below to their disk: only clean pages can be dropped, and nothing is to be written while something is timed."""
    on_each(files_below(root), os.fsync)


def forget(paths):
    """Drops the pages of files from the page cache. Pages that a process has mapped stay, and so do names and inodes."""
    on_each(paths, lambda descriptor: os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED))
