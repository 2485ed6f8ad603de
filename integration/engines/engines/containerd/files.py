"""Files: mounts, read-only roots, snapshots, and roots that no snapshotter knows."""

import shlex

from .. import images
from ..commands import call, expect, expect_match
from ..mountinfo import normal
from .engine import BUSYBOX, DEBIAN, YARDSTICK, containerd


@containerd.check
def a_bind_of_a_directory_goes_both_ways(ctr):
    (ctr.scratch / "in").write_text("from outside")
    ctr.run("sh", "-c", "cat /bound/in; echo from inside >/bound/out", options=("--mount", f"type=bind,src={ctr.scratch},dst=/bound,options=rbind:rw")).ok().prints("from outside")
    expect((ctr.scratch / "out").read_text(), "from inside\n", "the file outside")


@containerd.check
def a_read_only_bind_cannot_be_written(ctr):
    ctr.run("touch", "/bound/file", options=("--mount", f"type=bind,src={ctr.scratch},dst=/bound,options=rbind:ro")).exits(1).complains("read-only file system")


@containerd.check
def a_bind_of_a_file(ctr):
    (ctr.scratch / "file").write_text("another\n")
    ctr.run("cat", "/etc/passwd", options=("--mount", f"type=bind,src={ctr.scratch}/file,dst=/etc/passwd,options=bind:ro")).ok().prints("another")


@containerd.check
def memory_file_system_with_options(ctr):
    said = ctr.run("sh", "-c", "df -k /memory | tail -1; stat -c %a /memory", options=("--mount", "type=tmpfs,src=tmpfs,dst=/memory,options=size=1m:mode=1770:nosuid")).ok().output
    expect_match(r"\s1024\s(?s:.*)\n1770\n$", said, "size and mode")


@containerd.check
def a_read_only_root_cannot_be_written(ctr):
    ctr.run("touch", "/file", options=("--read-only",)).exits(1).complains("read-only file system")
    ctr.run("touch", "/tmp/file", options=("--read-only", "--mount", "type=tmpfs,src=tmpfs,dst=/tmp,options=rw")).ok()


@containerd.check
def a_root_that_is_a_plain_directory(ctr):
    ctr.ok("images", "mount", "--rw", BUSYBOX, "/mnt")
    try:
        ctr.call("run", "--rm", "--runc-binary", ctr.runtime.path, "--rootfs", "--env", "PATH=/bin", "/mnt", ctr.name(), "cat", "/etc/group").ok()
        ctr.call("run", "--rm", "--runc-binary", ctr.runtime.path, "--rootfs", "--env", "PATH=/bin", "--read-only", "/mnt", ctr.name(), "touch", "/file").exits(1).complains("read-only")
    finally:
        ctr.ok("images", "unmount", "--rm", "/mnt")


@containerd.check
def a_snapshot_counts_what_was_written(ctr):
    container, _ = ctr.logged("sh", "-c", "head -c 3000000 /dev/urandom >/written")
    expect(ctr.end(container), 0, "exit status")
    said = ctr.ok("snapshots", "usage", "-b", container)
    expect(3_000_000 <= int(said.splitlines()[-1].split()[1]) < 3_200_000, True, f"size in {said!r}")


@containerd.check
def a_snapshot_holds_the_changes_alone(ctr):
    container, _ = ctr.logged("sh", "-c", "echo written >/root/file; rm /bin/yes")
    expect(ctr.end(container), 0, "exit status")
    ctr.ok("snapshots", "commit", f"{container}-committed", container)
    ctr.ok("snapshots", "prepare", f"{container}-again", f"{container}-committed")
    target = ctr.scratch / "target"
    target.mkdir()
    for line in ctr.ok("snapshots", "mounts", target, f"{container}-again").splitlines():
        call(shlex.split(line)).ok()
    try:
        expect((target / "root/file").read_text(), "written\n", "the file")
        expect((target / "bin/yes").exists(), False, "the removed file is there")
    finally:
        call(["umount", target]).ok()


@containerd.check
def many_layers(ctr):
    ctr.run("sh", "-c", "cat /layers/last; ls /layers | wc -l", image=images.base("layered")).ok().prints("39\n41")


@containerd.check
def without_pivot_root(ctr):
    ctr.run("ls", "/etc/passwd", options=("--no-pivot",)).ok().prints("/etc/passwd")


@containerd.check
def a_whole_image_is_mounted_as_by_the_yardstick(ctr):
    command = {"options": ("--mount", f"type=bind,src={ctr.scratch},dst=/bound,options=rbind:rw", "--mount", "type=tmpfs,src=tmpfs,dst=/memory,options=rw"), "image": DEBIAN}
    mine = ctr.run("cat", "/proc/self/mountinfo", **command).ok().output
    theirs = ctr.run("cat", "/proc/self/mountinfo", binary=YARDSTICK, **command).ok().output
    expect(normal(mine), normal(theirs), "mountinfo")
