"""What is measured. A case is made only when it is wanted: bundles cost time."""

import fnmatch
import os
import subprocess

from . import bundles as made
from . import machine
from .machine import OURS
from .measure import Case, Contender

OFF = f"{OURS}, off"
AUTO = f"{OURS}, auto"
ANEW = f"{OURS}, plan made anew"
FORCED = f"{OURS}, on top of the complete root"
AGAIN = "crun, again"
FLOOR = "floor"
COMPONENTS = [1, 4, 8, 16]
LIBRARIES_TITLE = " ".join([os.path.basename(made.LIBRARIES_PROGRAM[0]), *made.LIBRARIES_PROGRAM[1:]])
CYCLE = "create + start + delete"


class Cases:
    """Makes the cases of one view. `state` holds a state directory for each runtime."""

    def __init__(self, view, bundles, state, stopwatch):
        self.view, self.bundles, self.state, self.stopwatch = view, bundles, state, stopwatch
        self.runtimes = machine.runtimes_of(view)
        self.alive = {}

    def wanted(self, pattern, quick=False, many=False):
        """The cases whose names fit the pattern."""
        return [make() for name, make in self.known(quick, many).items() if fnmatch.fnmatchcase(name, pattern)]

    def known(self, quick, many):
        """Names, and what makes each. The hybrid layout, which crun refuses, has those that tell whether it costs anything."""
        known = {"run": lambda: self.plain("run"), "cycle": lambda: self.plain("cycle"), "exec": self.execs, "state": self.states}
        counts = [4, 8] if quick else [4] if self.view == "hybrid" else COMPONENTS
        for count in counts:
            for kind in ("run", "cycle"):
                known[f"{kind}-{count}"] = lambda kind=kind, count=count: self.composed(kind, count)
        if self.view == "hybrid":
            return known
        # differences of a few hundredths need more samples
        known["run-8"] = lambda: self.composed("run", 8, share=2)
        known["run-8-readonly"] = lambda: self.composed("run", 8, readonly=True, share=2)
        known["cycle-4-readonly"] = lambda: self.composed("cycle", 4, readonly=True)
        known["cycle-4-disk"] = lambda: self.composed("cycle", 4, disk=True)
        known["run-libraries"] = self.libraries
        known["run-cold"] = self.cold
        for count in (100, 1000) if many else (100,):
            for parallel in (1, 16):
                for composed in (0, 4):
                    name = f"many-{count}-{parallel}-{composed}"
                    known[name] = lambda count=count, parallel=parallel, composed=composed: self.many(count, parallel, composed)
        return known

    def base(self, runtime):
        return [machine.RUNTIMES[runtime], "--root", self.state / runtime]

    def contender(self, kind, runtime, bundle, label=None, prepare=None):
        """`run`: one command. `cycle`: the three that engines call, and between them the program's end."""
        base = self.base(runtime)
        if kind == "run":
            steps = [("run", [*base, "run", "--bundle", bundle, "NAME"])]
        else:
            create = [*base, "create", "--bundle", bundle, "--pid-file", "PID_FILE", "NAME"]
            steps = [("create", create), ("start", [*base, "start", "NAME"]), ("gone", None), ("delete", [*base, "delete", "NAME"])]
        return Contender(label or runtime, steps, prepare)

    def others(self, kind, bundle):
        return [self.contender(kind, runtime, bundle) for runtime in self.runtimes if runtime != OURS]

    def floor(self, rootfs, program, *options):
        cgroup = ["--cgroup"] if self.view == "v2" else []
        return Contender(FLOOR, [("run", [machine.compiled("floor"), *cgroup, *options, rootfs, program])])

    def plain(self, kind):
        """(a), (b), (j): a static program in a bundle that lacks nothing."""
        rootfs, args = self.bundles.static(), ["/bin/true"]
        plain = self.bundles.bundle(f"{kind}-plain", rootfs, args)
        off = self.bundles.bundle(f"{kind}-off", rootfs, args, annotations=made.OFF)
        contenders = [*self.others(kind, plain), self.contender(kind, OURS, off), self.contender(kind, OURS, plain, AUTO)]
        if kind == "run":
            contenders.append(self.floor(rootfs, "/bin/true"))
            if "crun" in self.runtimes:
                contenders.append(self.contender(kind, "crun", plain, AGAIN))
        title = "run /bin/true" if kind == "run" else CYCLE
        return Case(kind, f"{title}, composition off", contenders)

    def composed(self, kind, count, *, readonly=False, disk=False, share=1.0):
        """(e): `count` components under a bundle of one file; the others have the complete root filesystem."""
        name = f"{kind}-{count}{'-readonly' if readonly else ''}{'-disk' if disk else ''}"
        annotations = made.naming(self.bundles.components(count))
        base = self.bundles.disk if disk else self.bundles.scratch
        options = {"readonly": readonly, "base": base}
        thin_root = self.bundles.thin(base=base)
        full_root = self.bundles.complete(str(count), thin_root, [made.PROGRAM], annotations, base=base)
        thin = self.bundles.bundle(f"{name}-thin", thin_root, [made.PROGRAM], annotations=annotations, **options)
        full = self.bundles.bundle(f"{name}-full", full_root, [made.PROGRAM], **options)
        plan = self.bundles.plan(thin)
        assert len(plan["layers"]) == count, f"{name}: {len(plan['layers'])} components are composed"
        off = self.bundles.bundle(f"{name}-off", full_root, [made.PROGRAM], annotations=made.OFF, **options)
        contenders = [*self.others(kind, full), self.contender(kind, OURS, thin), self.contender(kind, OURS, off, OFF)]
        if kind == "run" and count == 8:
            forced = self.bundles.bundle(f"{name}-forced", full_root, [made.PROGRAM], annotations=annotations, **options)
            assert len(self.bundles.plan(forced)["layers"]) == count, f"{name}: the complete root is composed otherwise"
            contenders.append(self.contender(kind, OURS, forced, FORCED))
        if kind == "run":
            lowers = [word for layer in plan["layers"] for word in ("--lower", tree_of(layer))]
            if readonly:
                contenders.append(self.floor(thin_root, made.PROGRAM, "--readonly", *lowers))
            else:
                # an upper directory is one container's at a time
                work = self.bundles.rootfs("work", lambda _: None, base)
                contenders.append(self.floor(self.bundles.thin(suffix="-floor", base=base), made.PROGRAM, "--work", work, *lowers))
        title = "run" if kind == "run" else CYCLE
        root = "read-only root" if readonly else "root kept on disk" if disk else "throw-away root"
        return Case(name, f"{title}, {count} component{'s' if count > 1 else ''}, {root}", contenders, share=share)

    def library_roots(self, base):
        program, *_ = made.LIBRARIES_PROGRAM
        thin = self.bundles.thin(program, base=base)
        return thin, self.bundles.complete("libraries", thin, made.LIBRARIES_PROGRAM, {}, base=base)

    def libraries(self):
        """(f): a program of about thirty libraries, its plan kept and made anew."""
        thin_root, full_root = self.library_roots(self.bundles.scratch)
        thin = self.bundles.bundle("libraries-thin", thin_root, made.LIBRARIES_PROGRAM, readonly=True)
        full = self.bundles.bundle("libraries-full", full_root, made.LIBRARIES_PROGRAM, readonly=True)
        off = self.bundles.bundle("libraries-off", full_root, made.LIBRARIES_PROGRAM, readonly=True, annotations=made.OFF)

        def forget_plans():
            for plan in (self.state / "kept/plans").iterdir():
                plan.unlink()

        contenders = [
            *self.others("run", full),
            self.contender("run", OURS, thin),
            self.contender("run", OURS, thin, ANEW, forget_plans),
            self.contender("run", OURS, off, OFF),
        ]
        count, layers = len(made.libraries(made.LIBRARIES_PROGRAM[0])), len(self.bundles.plan(thin)["layers"])
        title = f"run {LIBRARIES_TITLE}: {count} libraries, {layers} components"
        return Case("run-libraries", title, contenders, share=1.5)

    def cold(self):
        """(f): the same with the runtime, the root filesystem and the components read from disk."""
        thin_root, full_root = self.library_roots(self.bundles.disk)
        options = {"readonly": True, "base": self.bundles.disk}
        thin = self.bundles.bundle("cold-thin", thin_root, made.LIBRARIES_PROGRAM, **options)
        full = self.bundles.bundle("cold-full", full_root, made.LIBRARIES_PROGRAM, **options)
        trees = [tree_of(layer) for layer in self.bundles.plan(thin)["layers"]]
        contenders = []
        for runtime in self.runtimes:
            bundle, roots = (thin, [thin_root, *trees, machine.STORE / "generated"]) if runtime == OURS else (full, [full_root])
            program = machine.RUNTIMES[runtime]
            own = [program, machine.STORE / "catalogue"] if runtime == OURS else [program, *libraries_of(program)]
            paths = [*own, *made.files_below(*roots, bundle)]
            contenders.append(self.contender("run", runtime, bundle, prepare=lambda paths=paths: made.forget(paths)))
        return Case("run-cold", f"run {LIBRARIES_TITLE}, cold page cache", contenders, share=0.4)

    def sleeper(self, runtime):
        """Name of a container that stays."""
        if runtime not in self.alive:
            bundle = self.bundles.bundle(f"sleeper-{runtime}", self.bundles.static(), ["/bin/sleep", "100000"])
            # also the name of its control group, which is one for all of them
            name = f"{self.stopwatch.mark}-{runtime}"
            words = [*self.base(runtime), "run", "--detach", "--bundle", bundle, name]
            subprocess.run(words, env=self.bundles.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=True)
            self.alive[runtime] = name
        return self.alive[runtime]

    def execs(self):
        """(c)"""
        contenders = [Contender(one, [("exec", [*self.base(one), "exec", self.sleeper(one), "/bin/true"])]) for one in self.runtimes]
        return Case("exec", "exec /bin/true", contenders)

    def states(self):
        """(d): delete alone is a step of the cycles."""
        return Case("state", "state", [Contender(one, [("state", [*self.base(one), "state", self.sleeper(one)])]) for one in self.runtimes])

    def many(self, count, parallel, composed):
        """(g): all of them have one bundle, so its root is read-only where components are composed."""
        if composed:
            annotations = made.naming(self.bundles.components(composed))
            thin_root = self.bundles.thin()
            full_root = self.bundles.complete(str(composed), thin_root, [made.PROGRAM], annotations)
            thin = self.bundles.bundle(f"many-{count}-{parallel}-thin", thin_root, [made.PROGRAM], readonly=True, annotations=annotations)
            full = self.bundles.bundle(f"many-{count}-{parallel}-full", full_root, [made.PROGRAM], readonly=True)
        else:
            thin = self.bundles.bundle(f"many-{count}-{parallel}-off", self.bundles.static(), ["/bin/true"], annotations=made.OFF)
            full = self.bundles.bundle(f"many-{count}-{parallel}-plain", self.bundles.static(), ["/bin/true"])
        title = f"{count:,} containers, {f'{parallel} in parallel' if parallel > 1 else 'one by one'}, "
        title += f"{composed} components" if composed else "composition off"
        contenders = [*self.others("cycle", full), self.contender("cycle", OURS, thin)]
        share = 0.1 if count <= 100 else 0.01
        return Case(f"many-{count}-{parallel}-{composed}", title, contenders, jobs=count, parallel=parallel, share=share)


def tree_of(layer):
    """Directory of a component's unpacked files."""
    return machine.STORE / "trees" / layer["diff_id"].removeprefix("sha256:")


def libraries_of(program):
    """Libraries of the program; none of a static one, of which ldd says so with an exit code."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [word for word in done.stdout.split() if word.startswith("/") and os.path.exists(word)]
