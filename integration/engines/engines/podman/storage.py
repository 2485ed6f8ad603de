"""Root file systems, volumes, and what becomes of a container's changes."""

import re
import tarfile

from ..commands import Mismatch, call, expect, expect_in, until
from ..images import base
from .engine import BUSYBOX, STAY, podman, rootless


@rootless.check
@podman.check
def a_named_volume_outlives_containers(podman):
    podman.ok("volume", "create", podman.unique)
    podman.run("--volume", f"{podman.unique}:/data", BUSYBOX, "sh", "-c", "echo kept >/data/file").ok()
    podman.run("--volume", f"{podman.unique}:/data:ro", BUSYBOX, "cat", "/data/file").ok().prints("kept")


@podman.check
def a_new_volume_starts_with_what_the_image_has(podman):
    podman.run("--volume", f"{podman.unique}:/etc", BUSYBOX, "grep", "-c", "root", "/etc/passwd").ok().prints("1")


@rootless.check
@podman.check
def a_directory_of_the_host_is_shared(podman):
    (podman.scratch / "there").write_text("from outside\n")
    podman.scratch.chmod(0o777)
    podman.run("--volume", f"{podman.scratch}:/data", BUSYBOX, "sh", "-c", "cat /data/there; echo from inside >/data/here").ok().prints("from outside")
    expect((podman.scratch / "here").read_text(), "from inside\n", "what it wrote")


@rootless.check
@podman.check
def a_read_only_volume_cannot_be_written(podman):
    podman.run("--volume", f"{podman.scratch}:/data:ro", BUSYBOX, "touch", "/data/x").exits(1).complains("read-only file system")


@podman.check
def options_of_a_bind_mount_hold(podman):
    (podman.scratch / "run").write_text("#!/bin/sh\n")
    (podman.scratch / "run").chmod(0o755)
    podman.run("--volume", f"{podman.scratch}:/data:noexec", BUSYBOX, "/data/run").exits(126).complains("permission denied")
    podman.run("--mount", f"type=bind,source={podman.scratch}/run,target=/one/file,ro", BUSYBOX, "wc", "-c", "/one/file").ok().prints("10 /one/file")


@podman.check
def mounts_of_the_host_propagate_where_asked(podman):
    inner = podman.scratch / "inner"
    inner.mkdir()
    slave = podman.detached("--volume", f"{podman.scratch}:/data:rslave", BUSYBOX, *STAY)
    private = podman.detached("--volume", f"{podman.scratch}:/data:rprivate", BUSYBOX, *STAY)
    call(["mount", "-t", "tmpfs", "tmpfs", inner]).ok()
    try:
        (inner / "mounted").write_text("")
        expect(podman.ok("exec", slave, "ls", "/data/inner"), "mounted", "what the slave sees")
        expect(podman.ok("exec", private, "ls", "/data/inner"), "", "what the private one sees")
    finally:
        call(["umount", inner]).ok()


@rootless.check
@podman.check
def a_tmpfs_has_its_size_and_mode(podman):
    script = "grep ' /scratch ' /proc/mounts | cut -d' ' -f3,4; stat -c %a /scratch; touch /scratch/x && echo written"
    saw = podman.run("--tmpfs", "/scratch:rw,size=1m,mode=1770", BUSYBOX, "sh", "-c", script).ok().output
    for part in ("tmpfs rw,", "size=1024k", "\n1770\n", "written"):
        expect_in(part, saw, "the tmpfs")


@podman.check
def a_tmpfs_starts_with_what_lies_below(podman):
    podman.run("--tmpfs", "/etc", BUSYBOX, "grep", "-c", "app", "/etc/passwd").ok().prints("1")
    podman.run("--tmpfs", "/etc:notmpcopyup", BUSYBOX, "test", "-e", "/etc/passwd").exits(1)


@rootless.check
@podman.check
def a_read_only_root_has_places_to_write(podman):
    for place in ("/tmp", "/run", "/var/tmp", "/dev/shm"):
        podman.run("--read-only", BUSYBOX, "touch", f"{place}/x").ok()
    podman.run("--read-only", BUSYBOX, "touch", "/etc/x").exits(1).complains("read-only file system")


@podman.check
def a_read_only_root_without_places_to_write(podman):
    for place in ("/tmp", "/run", "/etc"):
        podman.run("--read-only", "--read-only-tmpfs=false", BUSYBOX, "touch", f"{place}/x").exits(1).complains("read-only file system")


@podman.check
def a_read_only_root_with_a_volume(podman):
    podman.run("--read-only", "--volume", f"{podman.unique}:/data", BUSYBOX, "sh", "-c", "touch /data/x && ls /data").ok().prints("x")


@podman.check
def volumes_from_another_container(podman):
    other = podman.detached("--volume", "/data", BUSYBOX, "sh", "-c", "echo shared >/data/file; exec sleep 100")
    until(lambda: podman.call("exec", other, "test", "-s", "/data/file").status == 0, "the file")
    podman.run("--volumes-from", other, BUSYBOX, "cat", "/data/file").ok().prints("shared")


@podman.check
def an_image_is_mounted_as_a_volume(podman):
    podman.run("--mount", f"type=image,source={base('layered')},destination=/image", BUSYBOX, "cat", "/image/layers/last").ok().prints("39")


@podman.check
def shared_memory_has_its_size(podman):
    podman.run("--shm-size=3m", BUSYBOX, "sh", "-c", "df -k /dev/shm | tail -n1 | awk '{print $2}'").ok().prints("3072")


@podman.check
def an_image_of_many_layers_is_whole(podman):
    container = podman.detached(base("layered"), *STAY)
    expect(podman.ok("exec", container, "sh", "-c", "ls /layers | wc -l; cat /layers/last /layers/0"), "41\n39\n0", "its files")
    podman.ok("exec", container, "rm", "/layers/7")
    podman.ok("restart", "--time=5", container)
    expect(podman.call("exec", container, "cat", "/layers/7").status, 1, "the removed file after a restart")


def changed(podman):
    """The name of a stopped container that has added, changed and removed a file."""
    podman.ok("run", "--name", podman.unique, BUSYBOX, "sh", "-c", "echo new >/root/new; echo changed >>/etc/group; rm /bin/yes; mkdir -p /data/deep; ln -s new /root/link")
    return podman.unique


@rootless.check
@podman.check
def diff_tells_the_containers_own_changes(podman):
    changes = set(podman.ok("diff", changed(podman)).splitlines())
    expect(changes, {"C /root", "A /root/new", "A /root/link", "C /etc", "C /etc/group", "C /bin", "D /bin/yes", "A /data", "A /data/deep"}, "podman diff")


@rootless.check
@podman.check
def commit_keeps_the_changes(podman):
    image = f"localhost/{podman.unique}"
    podman.ok("commit", "--quiet", "--change", "ENV A=b", "--change", "CMD [\"cat\", \"/root/new\"]", changed(podman), image)
    try:
        podman.run(image).ok().prints("new")
        podman.run(image, "sh", "-c", "echo $A; tail -n1 /etc/group; test -e /bin/yes || echo gone; readlink /root/link").ok().prints("b\nchanged\ngone\nnew")
    finally:
        podman.ok("rmi", image)


@podman.check
def commit_of_a_running_container(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "echo now >/root/now; exec sleep 100")
    until(lambda: podman.call("exec", container, "test", "-s", "/root/now").status == 0, "the file")
    image = f"localhost/{podman.unique}"
    podman.ok("commit", "--quiet", container, image)
    expect(podman.ok("exec", container, "cat", "/root/now"), "now", "the file in the container that runs on")
    try:
        podman.run(image, "cat", "/root/now").ok().prints("now")
    finally:
        podman.ok("rmi", image)


@rootless.check
@podman.check
def files_are_copied_in_and_out(podman):
    directory = podman.scratch / "directory"
    directory.mkdir()
    (directory / "file").write_text("in\n")
    container = podman.detached(BUSYBOX, *STAY)
    podman.ok("cp", directory, f"{container}:/root")
    expect(podman.ok("exec", container, "cat", "/root/directory/file"), "in", "what was copied in")
    podman.ok("exec", container, "sh", "-c", "echo out >/root/directory/file")
    podman.ok("cp", f"{container}:/root/directory/file", podman.scratch / "out")
    expect((podman.scratch / "out").read_text(), "out\n", "what was copied out")
    podman.ok("stop", container)
    podman.ok("cp", directory / "file", f"{container}:/root/stopped")
    podman.ok("cp", f"{container}:/root/stopped", podman.scratch / "stopped")
    expect((podman.scratch / "stopped").read_text(), "in\n", "what was copied while it was stopped")


@podman.check
def files_are_copied_into_volumes_and_tmpfs(podman):
    (podman.scratch / "file").write_text("in\n")
    container = podman.detached("--volume", f"{podman.unique}:/data", "--tmpfs", "/scratch", BUSYBOX, *STAY)
    for place in ("/data", "/scratch"):
        podman.ok("cp", podman.scratch / "file", f"{container}:{place}/file")
        expect(podman.ok("exec", container, "cat", f"{place}/file"), "in", f"what was copied to {place}")


@rootless.check
@podman.check
def an_image_is_built_in_steps(podman):
    (podman.scratch / "file").write_text("copied\n")
    (podman.scratch / "Containerfile").write_text(f"""FROM {BUSYBOX}
COPY file /file
RUN cat /file >/first && echo step >>/first
USER app
RUN test "$(id -un)" = app && cat /first >/tmp/second
CMD ["cat", "/tmp/second"]
""")
    image = f"localhost/{podman.unique}"
    podman.ok("build", "--quiet", "--tag", image, podman.scratch, limit=120)
    try:
        podman.run(image).ok().prints("copied\nstep")
    finally:
        podman.ok("rmi", "--force", image)


@podman.check
def export_has_the_whole_tree_and_import_makes_an_image_of_it(podman):
    archive = podman.scratch / "archive.tar"
    podman.ok("export", "--output", archive, changed(podman))
    with tarfile.open(archive) as exported:
        names = set(exported.getnames())
    expect({"root/new", "bin/busybox"} - names, set(), "files that are missing")
    expect("bin/yes" in names, False, "the removed file is there")
    image = f"localhost/{podman.unique}"
    podman.ok("import", "--quiet", archive, image)
    try:
        podman.run(image, "cat", "/root/new").ok().prints("new")
    finally:
        podman.ok("rmi", image)


@podman.check
def a_container_is_mounted_for_the_host(podman):
    container = podman.detached(BUSYBOX, "sh", "-c", "echo seen >/root/file; exec sleep 100")
    place = podman.ok("mount", container)
    until(lambda: call(["cat", f"{place}/root/file"]).output == "seen\n", "what the container wrote")
    call(["sh", "-c", f"echo from outside >{place}/root/other"]).ok()
    expect(podman.ok("exec", container, "cat", "/root/other"), "from outside", "what the host wrote")
    podman.ok("umount", container)


def exploded(podman):
    """A root file system in a directory."""
    root = podman.scratch / "root"
    root.mkdir()
    container = podman.ok("create", BUSYBOX)
    archive = podman.scratch / "archive.tar"
    podman.ok("export", "--output", archive, container)
    call(["tar", "-xf", archive, "-C", root]).ok()
    return root


@podman.check
def a_directory_is_a_root(podman):
    root = exploded(podman)
    podman.ok("run", "--rm", "--rootfs", root, "sh", "-c", "echo kept >/root/file")
    expect((root / "root/file").read_text(), "kept\n", "what it wrote")


@podman.check
def a_directory_is_a_root_below_an_overlay(podman):
    root = exploded(podman)
    podman.ok("run", "--rm", "--rootfs", f"{root}:O", "sh", "-c", "echo gone >/root/file; cat /root/file")
    expect((root / "root/file").exists(), False, "the directory has what it wrote")


def mountinfo(text):
    """Mounts in order, without what is a number or a name of this container alone. Whether a mount can be written says the mount:
    runc has some file systems read-only as well. It leaves the tmpfs around cgroups v1 writable whatever is asked for."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        dash = fields.index("-")
        root = fields[3] if fields[dash + 1] != "overlay" else "/"
        options = sorted(set(re.sub(r"(lowerdir|upperdir|workdir)=[^,]*", r"\1", fields[dash + 3]).split(",")) - {"ro", "rw"})
        flags = fields[5] if fields[4] != "/sys/fs/cgroup" else re.sub("^r[ow],", "", fields[5])
        # shared:N and master:N: the numbers differ
        peers = [field.partition(":")[0] for field in fields[6:dash]]
        # a volume's place, a cgroup of the container's own
        root = re.sub(r"[0-9a-f]{64}", "ID", root)
        found.append((fields[4], root, flags, *peers, fields[dash + 1], *options))
    return sorted(found)


@rootless.check
@podman.check
def a_whole_image_is_mounted_as_the_yardstick_mounts_it(podman):
    words = ["run", "--rm", "--network=none", base("debian"), "cat", "/proc/self/mountinfo"]
    ours = podman.call(*words).ok().output
    theirs = podman.call("--runtime", podman.runtime.yardstick, *words).ok().output
    mine, yardstick = mountinfo(ours), mountinfo(theirs)
    if mine != yardstick:
        difference = [f"+ {entry}" for entry in mine if entry not in yardstick] + [f"- {entry}" for entry in yardstick if entry not in mine]
        raise Mismatch("mountinfo differs from the yardstick's:\n" + "\n".join(difference or ["only in how often"]))
    root = [line for line in ours.splitlines() if line.split()[4] == "/"]
    expect(len(root), 1, "mounts on /")
