"""Mounts, devices and read-only roots."""

from .. import images
from ..commands import expect, expect_in, expect_match
from ..mountinfo import normal
from .engine import DEBIAN, cri


@cri.check
def a_mount_goes_both_ways(cri):
    (cri.scratch / "in").write_text("from outside")
    expect(cri.run("sh", "-c", "cat /bound/in; echo from inside >/bound/out", mounts=[{"container_path": "/bound", "host_path": str(cri.scratch)}]), "from outside", "log")
    expect((cri.scratch / "out").read_text(), "from inside\n", "the file outside")


@cri.check
def a_read_only_mount_cannot_be_written(cri):
    container = cri.pod().start("touch", "/bound/file", mounts=[{"container_path": "/bound", "host_path": str(cri.scratch), "readonly": True}])
    expect(container.end()["exit_code"], 1, "exit status")
    expect_in("Read-only file system", container.log(), "log")


@cri.check
def a_file_is_mounted_over_one_of_the_image(cri):
    (cri.scratch / "file").write_text("another\n")
    expect(cri.run("cat", "/etc/group", mounts=[{"container_path": "/etc/group", "host_path": str(cri.scratch / "file")}]), "another", "log")


@cri.check
def mounts_have_the_propagation_that_is_asked_for(cri):
    for propagation, pattern in (("PROPAGATION_HOST_TO_CONTAINER", r" /bound \S+ master:\d+ "), ("PROPAGATION_BIDIRECTIONAL", r" /bound \S+ shared:\d+ ")):
        said = cri.run("cat", "/proc/self/mountinfo", mounts=[{"container_path": "/bound", "host_path": str(cri.scratch), "propagation": propagation}])
        expect_match(pattern, said, propagation)


@cri.check
def a_volume_is_shared_by_containers_of_a_pod(cri):
    pod = cri.pod()
    volume = [{"container_path": "/volume", "host_path": str(cri.scratch)}]
    cri.run("sh", "-c", "echo by the first >/volume/file", pod=pod, mounts=volume)
    expect(cri.run("cat", "/volume/file", pod=pod, mounts=volume), "by the first", "log")


@cri.check
def a_read_only_root_cannot_be_written(cri):
    container = cri.pod().start("touch", "/file", linux={"security_context": {"readonly_rootfs": True}})
    expect(container.end()["exit_code"], 1, "exit status")
    expect_in("Read-only file system", container.log(), "log")


@cri.check
def names_of_the_pod_are_mounted(cri):
    pod = cri.pod(hostname="named")
    said = cri.run("cat", "/etc/hostname", "/etc/hosts", pod=pod)
    expect_in("named", said, "hostname")
    expect_in("localhost", said, "hosts")


@cri.check
def a_device_that_is_given_can_be_used(cri):
    said = cri.run("sh", "-c", "head -c 3 /dev/nothing | wc -c; (: >/dev/nothing) 2>/dev/null || echo refused",
                   devices=[{"container_path": "/dev/nothing", "host_path": "/dev/zero", "permissions": "r"}])
    # zero may be written by everybody, under whatever name: the rule for its number is there already
    expect(said.splitlines()[0], "3", "bytes")


@cri.check
def many_layers(cri):
    expect(cri.run("sh", "-c", "cat /layers/last; ls /layers | wc -l", image=images.base("layered")), "39\n41", "log")


@cri.check
def proc_and_sys_are_protected(cri):
    said = cri.run("sh", "-c", "wc -c </proc/keys; (echo 1 >/proc/sys/kernel/domainname) 2>/dev/null || echo refused; (mkdir /sys/fs/cgroup/memory/made) 2>/dev/null || echo refused",
                   linux={"security_context": {"masked_paths": ["/proc/keys"], "readonly_paths": ["/proc/sys"]}})
    expect(said, "0\nrefused\nrefused", "log")


@cri.check
def a_whole_image_is_mounted_as_by_the_yardstick(cri):
    found = {}
    for handler in ("tested", "yardstick"):
        mounts = [{"container_path": "/bound", "host_path": str(cri.scratch)}]
        found[handler] = cri.run("cat", "/proc/self/mountinfo", image=DEBIAN, pod=cri.pod(handler=handler), mounts=mounts)
    expect(normal(found["tested"]), normal(found["yardstick"]), "mountinfo")
