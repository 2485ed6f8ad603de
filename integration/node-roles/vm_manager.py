"""vm-manager: a machine of QEMU's microvm kind, by software emulation, whose guest prints a line."""

import os
import pathlib
import re
import secrets
import subprocess

from node import HOME, call

# the smallest kernel that Debian has for machines without hardware
KERNEL = "linux-image-cloud-amd64"
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo "guest: $(/bin/busybox cat /proc/cmdline) on $(/bin/busybox uname -r)"
echo "guest: memory $(/bin/busybox sed -n 's/^MemTotal: *//p' /proc/meminfo)"
echo "guest: processor $(/bin/busybox sed -n 's/^model name.*: //p' /proc/cpuinfo)"
echo "guest: 6 * 7 = $((6 * 7))"
case " $(/bin/busybox cat /proc/cmdline) " in *" stay "*) /bin/busybox sleep 600 ;; esac
/bin/busybox reboot -f
"""


def unpacked(package, into):
    """The files of a package of the archive, which is not installed."""
    into.mkdir(parents=True)
    call("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package, cwd=into, timeout=300)
    call("dpkg-deb", "-x", next(into.glob("*.deb")), into)


def kernel():
    """The kernel's name. It is fetched once and lies below target/node-roles."""
    depends = call("apt-cache", "depends", KERNEL).stdout
    package = re.search(r"Depends: (linux-image-\S+-cloud-amd64)$", depends, re.M)[1]
    kept = HOME / package
    if not (kept / "vmlinuz").exists():
        scratch = HOME / f"fetch-{os.getpid()}"
        try:
            unpacked(package, scratch / "kernel")
            unpacked("busybox-static", scratch / "busybox")
            kept.mkdir(exist_ok=True)
            next(path for name in ("bin", "usr/bin") for path in (scratch / "busybox" / name).glob("busybox")).rename(kept / "busybox")
            # the last: with it, all are there
            next((scratch / "kernel/boot").glob("vmlinuz-*")).rename(kept / "vmlinuz")
        finally:
            call("rm", "-rf", scratch)
    return kept, package.removeprefix("linux-image-")


def initramfs(busybox, directory):
    """A root of one program and one script, as an archive that the kernel unpacks."""
    root = directory / "initramfs"
    for name in ("bin", "dev", "proc"):
        (root / name).mkdir(parents=True)
    call("cp", busybox, root / "bin/busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    # the kernel opens it before anything of ours runs
    call("mknod", root / "dev/console", "c", "5", "1")
    archive = directory / "initramfs.cpio"
    names = "\n".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))]) + "\n"
    with open(archive, "wb") as file:
        words = [busybox, "cpio", "-o", "-H", "newc"]
        subprocess.run(words, input=names.encode(), stdout=file, stderr=subprocess.DEVNULL, cwd=root, check=True, timeout=60)
    return archive


def machine(image, archive, memory, line):
    """The command of a machine that has no device but a serial line."""
    options = {"-M": "microvm,acpi=off", "-accel": "tcg", "-cpu": "max", "-m": memory, "-display": "none", "-serial": "stdio", "-monitor": "none", "-kernel": image, "-initrd": archive}
    words = [str(word) for pair in options.items() for word in pair]
    # `reboot=t`: without ACPI a triple fault is what ends the machine
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", *words, "-append", f"console=ttyS0 quiet reboot=t panic=-1 {line}"]


def show(node):
    kept, release = kernel()
    archive = initramfs(kept / "busybox", node.directory)
    mounts = [(kept / "vmlinuz", "/vm/kernel", "ro"), (archive, "/vm/initramfs", "ro")]
    token = secrets.token_hex(8)
    command = machine("/vm/kernel", "/vm/initramfs", 96, f"token={token}")
    one = node.container("guest", ["vm-manager"], command, mounts=mounts)
    status, said = one.finish(timeout=180)
    node.equal("the machine ends by itself, without an error", status, 0)
    lines = [line.strip() for line in said.splitlines() if line.startswith("guest: ")]
    node.expect("the guest prints its line, with the token of this run", any(f"token={token}" in line for line in lines), said)
    node.expect("the guest's kernel is the one that was given", any(line.endswith(f" on {release}") for line in lines), lines)
    node.expect("it is not the host's", os.uname().release != release, release)
    node.expect("the processor is emulated", any("QEMU TCG" in line for line in lines), lines)
    memory = int(next(line for line in lines if "memory" in line).split()[2])
    node.expect("the guest has the memory it was given, and no more", 50_000 < memory < 98_304, memory)
    node.expect("the guest computes", "guest: 6 * 7 = 42" in lines, lines)

    # a machine that stays ends with its container
    command = machine("/vm/kernel", "/vm/initramfs", 96, "stay")
    two = node.container("stays", ["vm-manager"], command, mounts=mounts, by="file").start()
    node.until("a second machine is up", lambda: "6 * 7 = 42" in two.said(), 180)
    running = [path.parent for path in pathlib.Path("/proc").glob("[0-9]*/cgroup") if two.name in text(path)]
    node.equal("one process is the machine", len(running), 1)
    two.kill()
    node.expect("killed, its container leaves no machine", not any(f"/{two.name}" in text(place / "cgroup") for place in running), running)
    return "the guest says: " + next(line for line in lines if "processor" in line)[len("guest: "):] + f", {memory} kB"


def text(path):
    try:
        return path.read_text()
    except OSError:
        return ""
