"""Files: volumes, binds, memory, cp, diff, and what is mounted."""

import io
import tarfile

from ..commands import expect, expect_in, expect_match, until
from ..mountinfo import normal
from .engine import BUSYBOX, DEBIAN, docker


@docker.check
def a_volume_outlives_its_container(docker):
    docker.run("--volume", f"{docker.unique}:/data", BUSYBOX, "sh", "-c", "echo kept >/data/file").ok()
    docker.run("--volume", f"{docker.unique}:/data:ro", BUSYBOX, "sh", "-c", "cat /data/file; ! touch /data/more").ok().prints("kept")


@docker.check
def a_new_volume_has_what_the_image_has_there(docker):
    docker.run("--volume", f"{docker.unique}:/etc", BUSYBOX, "grep", "-c", "^app:", "/etc/passwd").ok().prints("1")
    docker.run("--volume", f"{docker.unique}:/there", BUSYBOX, "grep", "-c", "^app:", "/there/passwd").ok().prints("1")


@docker.check
def volumes_of_another_container(docker):
    first = docker.begin("--volume", "/shared", BUSYBOX, "sh", "-c", "echo theirs >/shared/file; sleep 100")
    until(lambda: docker.call("exec", first, "test", "-s", "/shared/file").status == 0, "the file")
    docker.run("--volumes-from", first, BUSYBOX, "cat", "/shared/file").ok().prints("theirs")


@docker.check
def a_bind_of_a_directory_goes_both_ways(docker):
    (docker.scratch / "in").write_text("from outside")
    docker.run("--volume", f"{docker.scratch}:/bound", BUSYBOX, "sh", "-c", "cat /bound/in; echo from inside >/bound/out").ok().prints("from outside")
    expect((docker.scratch / "out").read_text(), "from inside\n", "the file outside")


@docker.check
def a_read_only_bind_cannot_be_written(docker):
    docker.run("--mount", f"type=bind,source={docker.scratch},target=/bound,readonly", BUSYBOX, "touch", "/bound/file").exits(1).complains("read-only file system")


@docker.check
def a_bind_of_a_file_over_one_of_the_image(docker):
    file = docker.scratch / "file"
    file.write_text("another\n")
    docker.run("--volume", f"{file}:/etc/passwd:ro", BUSYBOX, "cat", "/etc/passwd").ok().prints("another")


@docker.check
def mounts_arrive_in_a_bind_that_follows_the_host(docker):
    container = docker.begin("--mount", f"type=bind,source={docker.scratch},target=/bound,bind-propagation=rslave", BUSYBOX, "sleep", "100")
    expect_match(r" /bound .* master:\d+ ", docker.ok("exec", container, "cat", "/proc/self/mountinfo"), "propagation")


@docker.check
def memory_file_system_with_options(docker):
    said = docker.run("--tmpfs", "/memory:size=1m,mode=1770,exec", BUSYBOX, "sh", "-c", "df -k /memory | tail -1; stat -c %a /memory; grep ' /memory ' /proc/mounts").ok().output
    expect_match(r"\s1024\s", said, "size")
    expect_in("\n1770\n", said, "mode")
    expect("noexec" in said, False, "noexec")


@docker.check
def read_only_root_with_places_to_write(docker):
    docker.run("--read-only", "--tmpfs", "/tmp", "--volume", "/data", BUSYBOX, "sh", "-c",
               "touch /tmp/file /data/file && ! touch /file 2>/dev/null && ! touch /etc/file 2>/dev/null").ok()


@docker.check
def hosts_names_and_resolver_are_the_engines(docker):
    said = docker.run("--add-host", "other:10.1.2.3", "--dns", "10.9.9.9", "--dns-search", "example", BUSYBOX, "cat", "/etc/hosts", "/etc/resolv.conf").ok().output
    for line in ("10.1.2.3\tother", "nameserver 10.9.9.9", "search example"):
        expect_in(line, said, "files")


@docker.check
def the_usual_devices_and_no_others(docker):
    said = docker.run(BUSYBOX, "sh", "-c", "cd /dev; for d in null zero full random urandom tty; do test -c $d && echo $d; done; readlink fd; readlink stdin; ls -d pts shm mqueue").ok()
    said.prints("null\nzero\nfull\nrandom\nurandom\ntty\n/proc/self/fd\n/proc/self/fd/0\nmqueue\npts\nshm")
    expect(docker.run(BUSYBOX, "test", "-e", "/dev/vda").status, 1, "the host's disk")


@docker.check
def proc_and_sys_are_protected(docker):
    said = docker.run(BUSYBOX, "sh", "-c", "wc -c </proc/keys; ls /sys/firmware | wc -l; (echo 1 >/proc/sys/kernel/domainname) 2>/dev/null || echo refused; "
                      "mkdir /sys/fs/cgroup/memory/made 2>/dev/null || echo refused").ok()
    said.prints("0\n0\nrefused\nrefused")


@docker.check
def protection_of_proc_can_be_given_up(docker):
    said = docker.run("--security-opt", "systempaths=unconfined", BUSYBOX, "sh", "-c", "grep -c ' /proc/' /proc/self/mountinfo")
    expect(said.output.strip(), "0", "mounts over /proc")


@docker.check
def cp_into_and_out_of_a_running_container(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    (docker.scratch / "tree/deep").mkdir(parents=True)
    (docker.scratch / "tree/deep/file").write_text("copied\n")
    docker.ok("cp", docker.scratch / "tree", f"{container}:/var/tmp")
    expect(docker.ok("exec", container, "cat", "/var/tmp/tree/deep/file"), "copied", "inside")
    docker.ok("exec", container, "sh", "-c", "echo made inside >/var/tmp/tree/deep/more")
    docker.ok("cp", f"{container}:/var/tmp/tree/deep/more", docker.scratch / "more")
    expect((docker.scratch / "more").read_text(), "made inside\n", "outside")


@docker.check
def cp_into_and_out_of_a_stopped_container(docker):
    container = docker.ok("create", BUSYBOX, "cat", "/tmp/file")
    (docker.scratch / "file").write_text("before the start\n")
    docker.ok("cp", docker.scratch / "file", f"{container}:/tmp/file")
    docker.call("start", "--attach", container).ok().prints("before the start")
    docker.ok("cp", f"{container}:/tmp/file", docker.scratch / "back")
    expect((docker.scratch / "back").read_text(), "before the start\n", "outside")


@docker.check
def cp_sees_what_a_volume_holds(docker):
    container = docker.begin("--volume", "/data", BUSYBOX, "sh", "-c", "echo in the volume >/data/file; sleep 100")
    until(lambda: docker.call("exec", container, "test", "-s", "/data/file").status == 0, "the file")
    docker.ok("cp", f"{container}:/data/file", docker.scratch / "file")
    expect((docker.scratch / "file").read_text(), "in the volume\n", "outside")


@docker.check
def diff_tells_what_was_changed(docker):
    container = docker.begin(BUSYBOX, "sh", "-c", "echo new >/root/added; rm /bin/yes; echo more >>/etc/passwd; sleep 100")
    wanted = {"A /root/added", "C /root", "D /bin/yes", "C /bin", "C /etc", "C /etc/passwd"}
    until(lambda: wanted <= set(docker.ok("diff", container).splitlines()), f"the changes {wanted}")
    expect(set(docker.ok("diff", container).splitlines()) - wanted, set(), "other changes")


@docker.check
def export_has_what_was_written(docker):
    docker.call("run", "--name", docker.unique, BUSYBOX, "sh", "-c", "echo exported >/root/file; rm /bin/yes").ok()
    archive = docker.scratch / "export.tar"
    docker.ok("export", "--output", archive, docker.unique)
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
        expect(tar.extractfile("root/file").read(), b"exported\n", "the file")
        expect("bin/yes" in tar.getnames(), False, "the removed file is there")


@docker.check
def inspect_knows_mounts(docker):
    container = docker.begin("--volume", f"{docker.scratch}:/bound:ro", "--volume", "named:/data", BUSYBOX, "sleep", "100")
    expect(sorted(docker.inspect(container, "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}}\n{{end}}").splitlines()),
           ["bind /bound false", "volume /data true"], "mounts")


@docker.check
def a_whole_image_is_mounted_as_by_the_yardstick(docker):
    command = ("--name", docker.unique, "--hostname", "same", "--volume", f"{docker.scratch}:/bound", "--tmpfs", "/memory", DEBIAN, "cat", "/proc/self/mountinfo")
    mine = docker.run(*command).ok().output
    theirs = docker.run("--runtime", "yardstick", *command).ok().output
    expect(normal(mine), normal(theirs), "mountinfo")
