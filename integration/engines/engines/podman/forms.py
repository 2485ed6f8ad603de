"""Roots that podman lays out in other ways than one overlay of its own: the app is complete and sees its writes again in each."""

import contextlib
import shutil
import subprocess

from ..commands import expect
from .engine import podman

# twice in one container: what the first run writes, and what it changes of the operating system, the second sees
TWICE = "echo line >>/app/lines; echo other:x:77:77::/:/bin/sh >>/etc/passwd; wc -l </app/lines; grep -c other /etc/passwd"


def twice(podman, *words, image=None, before=()):
    """Runs a container two times; the second sees what the first has written."""
    words = [*before, "create", *words, "--entrypoint", "/bin/sh", image or podman.image("script"), "-c", TWICE]
    container = podman.ok(*words)
    for count in ("1\n1", "2\n2"):
        podman.call(*before, "start", "--attach", container).ok().prints(count)
    podman.ok(*before, "rm", container)


@contextlib.contextmanager
def storage(podman, *options):
    """Words for a podman with another storage, which has the image of the script."""
    base = podman.scratch / "storage"
    words = ("--root", base / "root", "--runroot", base / "run", *options)
    try:
        # the one image: vfs copies everything for every layer
        podman.ok("save", "--quiet", "--output", podman.scratch / "image.tar", podman.image("script"), limit=300)
        podman.ok(*words, "load", "--quiet", "--input", podman.scratch / "image.tar", limit=300)
        yield words
    finally:
        podman.call(*words, "rm", "--all", "--force", "--time=0")
        # podman binds the directory of its layers to itself, and never takes that away
        while subprocess.run(["umount", base / "root/overlay"], stderr=subprocess.DEVNULL).returncode == 0:
            pass
        shutil.rmtree(base)


@podman.check(thin=True)
def a_thin_container_with_mapped_users_sees_its_writes_again(podman):
    twice(podman, "--uidmap=0:100000:5000", "--gidmap=0:200000:5000")


@podman.check(thin=True)
def a_thin_container_in_an_automatic_user_namespace_sees_its_writes_again(podman):
    twice(podman, "--userns=auto:size=2000")


@podman.check(thin=True)
def a_thin_container_on_vfs(podman):
    with storage(podman, "--storage-driver=vfs") as other:
        twice(podman, before=other)


@podman.check(thin=True)
def a_thin_container_on_fuse_overlayfs(podman):
    with storage(podman, "--storage-driver=overlay", "--storage-opt=overlay.mount_program=/usr/bin/fuse-overlayfs") as other:
        twice(podman, before=other)


@podman.check(thin=True)
def a_thin_container_with_metacopy(podman):
    with storage(podman, "--storage-driver=overlay", "--storage-opt=overlay.mountopt=nodev,metacopy=on") as other:
        twice(podman, before=other)


@podman.check(thin=True)
def a_thin_container_on_a_directory(podman):
    root = unpacked(podman)
    for count in ("1\n1", "2\n2"):
        podman.run("--rootfs", root, "/bin/sh", "-c", TWICE).ok().prints(count)
    expect((root / "app/lines").read_text(), "line\nline\n", "the directory")


@podman.check(thin=True)
def a_thin_container_on_a_directory_that_is_only_read(podman):
    root = unpacked(podman)
    for _ in range(2):
        podman.run("--rootfs", f"{root}:O", "/bin/sh", "-c", TWICE).ok().prints("1\n1")
    expect((root / "app/lines").exists(), False, "a change of the directory")


def unpacked(podman):
    """The files of an app as a directory of the check's own."""
    root = podman.scratch / "root"
    shown = podman.ok("image", "mount", podman.image("script"))
    try:
        shutil.copytree(shown, root, symlinks=True, ignore=shutil.ignore_patterns("dev"))
    finally:
        podman.ok("image", "unmount", podman.image("script"))
    return root


@podman.check(thin=True)
def a_thin_image_of_many_layers(podman):
    twice(podman, image=podman.image("layers"))
    seen = podman.run("--entrypoint", "/bin/sh", podman.image("layers"), "-c", "ls /app/many | wc -l").ok().output
    expect(seen, "60\n", "the files of all layers")
