"""What is mounted in a container, in a form that two runs can be compared by."""

import re


def normal(text):
    """The lines of a mountinfo without what differs between two runs of one runtime: numbers, and names of containers and snapshots.

    Of two flags that can make a mount read-only, the mount's own is compared and the file system's is not; and runc
    leaves the directory of v1's hierarchies writable where the configuration wants it read-only. The hierarchies come in any
    order."""
    lines = []
    for line in text.splitlines():
        fields, _, kind = line.partition(" - ")
        root, place, options, *propagation = fields.split()[3:]
        if place == "/sys/fs/cgroup":
            options = re.sub(r"^r[ow],", "", options)
        if not kind.startswith("overlay "):
            kind = re.sub(r" r[ow](,|$)", r" #\1", kind)
        line = " ".join([root, place, options, *propagation, "-", kind])
        lines.append(re.sub(r"[0-9a-f]{64}|/l/[0-9A-Z]{26}|(master|shared):\d+|(?<=/snapshots/)\d+|[a-z-]+-\d+(?= /sys/fs/cgroup)", "#", line))
    hierarchies = iter(sorted(line for line in lines if " - cgroup " in line))
    return [next(hierarchies) if " - cgroup " in line else line for line in lines]
