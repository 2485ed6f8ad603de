"""This machine: its views of control groups, its programs, its limits."""

import os
import pathlib
import platform
import resource
import shutil
import subprocess
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = pathlib.Path(__file__).resolve().parent
BUILT = TOP / "target/bench"
OURS = "fragment-runc"
RUNTIMES = {
    "crun": "/usr/bin/crun",
    "runc": "/usr/sbin/runc",
    OURS: os.environ.get("FRAGMENT_RUNC", str(TOP / "target/bin/fragment-runc")),
}
FRAGMENT = os.environ.get("FRAGMENT", str(TOP / "target/bin/fragment"))
STORE = pathlib.Path(os.environ.get("FRAGMENT_STORE", TOP / "target/library"))
CGROUPS = pathlib.Path("/sys/fs/cgroup")

# what a private mount namespace is made to show, as shell
VIEWS = {
    "v2": "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    # crun makes directories in `unified` even where it is none of control groups: they end with the namespace
    "v1": "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified && mount -t tmpfs none /sys/fs/cgroup/unified; fi",
    "hybrid": ":",
}
VIEW_TITLES = {"v2": "pure cgroup v2", "v1": "pure cgroup v1", "hybrid": "hybrid cgroups"}


def views_here():
    """Names of the views that this machine can show, the headline first. One with pure v2 shows only itself."""
    if filesystem(CGROUPS) == "cgroup2fs":
        return ["v2"]
    return ["v2", "v1", *(["hybrid"] if (CGROUPS / "unified").is_dir() else [])]


def set_up(view):
    """The view's shell words. A machine that has nothing but v2 is left as it is."""
    return ":" if view == "v2" and filesystem(CGROUPS) == "cgroup2fs" else VIEWS[view]


def runtimes_of(view):
    """Names of the runtimes that work there, the one that all are compared with first: crun refuses hybrid cgroups."""
    return [name for name in RUNTIMES if view != "hybrid" or name != "crun"]


def compiled(name):
    """Path of the static program made of NAME.c; compiled when that is newer."""
    source, program = SOURCES / f"{name}.c", BUILT / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        made = BUILT / f".{name}.{os.getpid()}"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-static", "-o", made, source], check=True)
        made.rename(program)
    return str(program)


def stripped_size(program):
    """Bytes of the program without its symbols."""
    with tempfile.NamedTemporaryFile() as copy:
        if shutil.which("strip") and subprocess.run(["strip", "-o", copy.name, program], check=False).returncode == 0:
            return os.stat(copy.name).st_size
    return os.stat(program).st_size


def filesystem(path):
    """Kind of the file system, as stat(1) names it."""
    return subprocess.run(["stat", "--file-system", "--format=%T", path], check=True, capture_output=True, text=True).stdout.strip()


def first_line(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


class Spent:
    """What the machine's processors do from now on."""

    def __init__(self):
        self.before = self.now()

    @staticmethod
    def now():
        """Processor seconds since the machine started: all, idle ones, those its host gave to others, and those of this program and of
        all it waited for."""
        ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(ticks), ticks[3] + ticks[4], ticks[7], sum(one.ru_utime + one.ru_stime for one in used)

    def parts(self):
        """Parts of all processor time: {"stolen": of other machines of the host, "others": of other work on this machine, threads of the
        kernel included, which take network namespaces down}."""
        total, idle, stolen, own = (after - before for after, before in zip(self.now(), self.before, strict=True))
        return {"stolen": stolen / total, "others": max(0.0, (total - idle - stolen - own) / total)}


def may_raise_limits():
    """Whether this process has CAP_SYS_RESOURCE, bit 24 of linux/capability.h."""
    capabilities = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(capabilities.split()[1], 16) >> 24 & 1)


def facts(scratch, disk):
    """What a reader has to know of the machine; `scratch` and `disk` are where bundles lie."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    version = subprocess.run([RUNTIMES[OURS], "--version"], check=True, capture_output=True, text=True).stdout
    return {
        "kernel": platform.release(),
        "processor": model[0] if model else platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "layout": "v2" if filesystem(CGROUPS) == "cgroup2fs" else "hybrid" if (CGROUPS / "unified").is_dir() else "v1",
        "sys_resource": may_raise_limits(),
        "scratch": filesystem(scratch),
        "disk": filesystem(disk),
        "store": filesystem(STORE),
        "commit": next((line for line in version.splitlines() if line.startswith("commit: ")), "commit: unknown"),
        "versions": {name: first_line(path, "--version") for name, path in RUNTIMES.items()},
    }


def remove_cgroups(mark):
    """Removes the empty groups whose names begin with `mark`, in every hierarchy that is to be seen; names of those that stay."""
    left = []
    for parent, names, _ in os.walk(CGROUPS, topdown=False):
        if filesystem(parent) == "tmpfs":
            continue
        for name in names:
            if name.startswith(mark) or f"/{mark}" in parent[len(str(CGROUPS)) :]:
                try:
                    os.rmdir(os.path.join(parent, name))
                except FileNotFoundError:
                    pass
                except OSError:
                    left.append(os.path.join(parent, name))
    return left
