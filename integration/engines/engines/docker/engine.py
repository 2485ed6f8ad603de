"""docker's daemon with one runtime, on its default places in the cage."""

import os
import pathlib

from .. import daemon, images
from ..commands import call, until
from ..harness import Battery, Engine

BUSYBOX = images.base("busybox")
DEBIAN = images.base("debian")


class Docker(Engine):
    """dockerd, and the containerd it starts, for all checks of one runtime."""

    # the machine may have a newer client before it in PATH
    command = ("/usr/bin/docker",)
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    state = ("/run/docker/runtime-runc/moby", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby")
    # docker never removes a parent cgroup that was asked for
    allowed = (r"^cgroups: .*/docker/parent$",)
    options = ()

    def start(self):
        """A container is run before anything is counted: the daemon makes its parent cgroup then, and a mount for the host's network."""
        self.log = self.base / "dockerd.log"
        self.dockerd = daemon.start(
            ["/usr/sbin/dockerd", "--data-root", self.base / "data", "--storage-driver", "overlay2",
             "--add-runtime", f"tested={self.runtime.path}", "--default-runtime", "tested",
             "--add-runtime", f"yardstick={os.environ.get('YARDSTICK', '/usr/sbin/runc')}", *self.options],
            self.log,
        )
        until(lambda: self.call("version").status == 0, f"the start of dockerd: {daemon.tail(self.log)}")
        for archive in images.archives(pathlib.Path(os.environ["ENGINES_CACHE"]), self.runtime):
            self.load(archive)
        self.images = self.list("images", "--format", "{{.Repository}}:{{.Tag}}")
        self.run("--network", "host", "--runtime", "yardstick", BUSYBOX, "true").ok()

    def load(self, archive):
        self.ok("load", "--quiet", "--input", archive, limit=300)

    def clean(self):
        if containers := self.list("ps", "--all", "--quiet"):
            self.call("rm", "--force", "--volumes", *containers).ok()
        self.call("volume", "prune", "--force").ok()
        self.call("network", "prune", "--force").ok()
        if made := self.list("images", "--format", "{{.Repository}}:{{.Tag}}") - self.images:
            self.call("rmi", "--force", *made)
        self.call("image", "prune", "--force").ok()

    def stop(self):
        daemon.stop(self.dockerd)
        call(["umount", "/run/docker/netns/default"])
        daemon.remove_cgroup("docker")

    def list(self, *words):
        return set(self.ok(*words).split())

    def run(self, *words, **options):
        """A container that is removed at its end: `Finished`."""
        return self.call("run", "--rm", *words, **options)

    def begin(self, *words, **options):
        """The id of a container in the background."""
        return self.ok("run", "--detach", *words, **options)

    def inspect(self, container, template):
        return self.ok("inspect", "--format", template, container)

    def status(self, container, wanted):
        """Waits until a container has a status."""
        until(lambda: self.inspect(container, "{{.State.Status}}") == wanted, f"status {wanted} of {container}")

    def logs(self, container):
        """What a container has printed: (output, errors)."""
        said = self.call("logs", container).ok()
        return said.output, said.errors


docker = Battery("docker", Docker)
