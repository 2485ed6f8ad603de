"""The inside of the cage that a run takes place in.

`run` starts itself again under integration/conformance/cage (mounts, process numbers and cgroups of its own) and unshare (network, host
name, System V IPC of its own). `furnish` then makes the places that engines and runtimes use by default this run's own: /run, /tmp,
/var/tmp and /var/lib are fresh, /var/lib/fragment is the component library, what is written in /etc is this run's alone (two more
users), and root is a shared mount as systemd makes it.
"""

import os
import pathlib
import shutil
import stat
import subprocess

from .commands import call

# an unprivileged user, and the one whose subordinate numbers podman's --userns=auto takes
TENANT = "fragment-tenant"
TENANT_ID = 12345
CONTAINERS = "containers"
BASE = pathlib.Path("/var/lib/engines")
HOME = BASE / "home"
RUNTIME_DIRECTORY = pathlib.Path(f"/run/user/{TENANT_ID}")
ACCOUNTS = {
    "passwd": f"{TENANT}:x:{TENANT_ID}:{TENANT_ID}::{HOME}:/bin/sh\n{CONTAINERS}:x:12346:12346::/nonexistent:/bin/false\n",
    "group": f"{TENANT}:x:{TENANT_ID}:\n{CONTAINERS}:x:12346:\n",
    "subuid": f"{TENANT}:200000:65536\n{CONTAINERS}:1000000:1048576\n",
    "subgid": f"{TENANT}:200000:65536\n{CONTAINERS}:1000000:1048576\n",
}


def furnish(library, binaries):
    """Makes the places; the copies of `binaries` (name to path), by name."""
    call(["mount", "--make-rprivate", "/"]).ok()
    # the binaries and the library may lie where something fresh comes now
    hold = pathlib.Path("/mnt")
    mount_tmpfs(hold, "0755")
    (hold / "bin").mkdir()
    for name, path in binaries.items():
        shutil.copy(path, hold / "bin" / name)
    call(["mount", "--bind", "--mkdir", library, hold / "library"]).ok()
    for place, mode in (("/run", "0755"), ("/tmp", "1777"), ("/var/tmp", "1777"), ("/var/lib", "0755")):
        mount_tmpfs(place, mode)
    for directory in ("/run/lock", "/run/netns", BASE / "bin"):
        pathlib.Path(directory).mkdir(parents=True)
    # the first engine that makes a network namespace would make it a mount, and leave it so
    mount_tmpfs("/run/netns", "0755")
    copies = {name: pathlib.Path(shutil.copy(hold / "bin" / name, BASE / "bin" / name)) for name in binaries}
    call(["mount", "--bind", "--mkdir", hold / "library", "/var/lib/fragment"]).ok()
    # who uses the library elsewhere has leases of his own
    mount_tmpfs("/var/lib/fragment/leases", "0700")
    call(["umount", hold / "library"]).ok()
    call(["umount", hold]).ok()
    accounts()
    # conmon leaves files where it is started
    os.chdir(BASE)
    call(["mount", "--make-rshared", "/"]).ok()
    call(["ip", "link", "set", "lo", "up"]).ok()
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # for every user, as udev makes them
    for device, minor in (("/dev/net/tun", 200), ("/dev/fuse", 229)):
        node = BASE / f"etc/{minor}"
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(10, minor))
        node.chmod(0o666)
        call(["mount", "--bind", node, device]).ok()
    return copies


def mount_tmpfs(place, mode):
    call(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", place]).ok()


def accounts():
    """An /etc to write in, with the unprivileged users."""
    for directory in ("upper", "work"):
        (BASE / "etc" / directory).mkdir(parents=True)
    options = f"lowerdir=/etc,upperdir={BASE}/etc/upper,workdir={BASE}/etc/work"
    call(["mount", "-t", "overlay", "-o", options, "overlay", "/etc"]).ok()
    for name, lines in ACCOUNTS.items():
        with (pathlib.Path("/etc") / name).open("a") as file:
            file.write(lines)
    HOME.mkdir()
    RUNTIME_DIRECTORY.mkdir(parents=True)
    RUNTIME_DIRECTORY.chmod(0o700)
    for directory in (HOME, RUNTIME_DIRECTORY):
        shutil.chown(directory, TENANT_ID, TENANT_ID)


def enter(cage, words):
    """Runs words in the cage; their status."""
    return subprocess.run([cage, "unshare", "--net", "--uts", "--ipc", "--", *words]).returncode
