"""What is there now and should be gone later: everything in the cage is this battery's own, so it is simply counted."""

import os
import pathlib
import re

# a mount by its place; kernel threads and this battery itself are no residue
KINDS = ("mounts", "cgroups", "processes", "network namespaces", "state directories", "leases")
STATE = ("/run/runc", "/run/fragment-runc", "/run/fragment-runc/.fragment")


def snapshot(extra_state=()):
    """What there is of each kind."""
    return {
        "mounts": mounts(),
        "cgroups": cgroups(),
        "processes": processes(),
        "network namespaces": entries("/run/netns"),
        "state directories": set().union(*(entries(path) for path in (*STATE, *extra_state))),
        "leases": entries("/var/lib/fragment/leases"),
    }


def left(before, after, allowed=()):
    """What came between two snapshots, a line each, but for what a regular expression of `allowed` finds."""
    return [
        f"{kind}: {thing}"
        for kind in KINDS
        for thing in sorted(after[kind] - before[kind])
        if not any(re.search(pattern, f"{kind}: {thing}") for pattern in allowed)
    ]


def mounts():
    """Type and place; what is mounted twice is there twice."""
    counted = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        name = f"{fields[fields.index('-') + 1]} on {fields[4]}"
        counted[name] = counted.get(name, 0) + 1
    return {f"{name} #{count}" for name, most in counted.items() for count in range(1, most + 1)}


def cgroups():
    return {directory for directory, _, _ in os.walk("/sys/fs/cgroup")}


def processes():
    """Command lines with their numbers, without zombies (process 1 of the cage collects them) and the battery's own."""
    found = set()
    for directory in pathlib.Path("/proc").iterdir():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if line:
            found.add(f"{directory.name} {line[:120]}")
    return found


def entries(path):
    try:
        return {f"{path}/{name}" for name in os.listdir(path) if not name.startswith(".")}
    except OSError:
        return set()
