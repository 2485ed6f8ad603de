"""containerd on its default places in the cage, driven by ctr."""

import itertools
import json
import os
import pathlib

from .. import daemon, images
from ..commands import Mismatch, until
from ..harness import Battery, Engine

BUSYBOX = images.base("busybox")
DEBIAN = images.base("debian")
YARDSTICK = os.environ.get("YARDSTICK", "/usr/sbin/runc")
SOCKET = "/run/containerd/containerd.sock"
STATE = pathlib.Path("/run/containerd/io.containerd.runtime.v2.task")
# what is tried elsewhere or needs a kernel module is left out; the files of the network plugins are those of Debian's package
CONFIGURATION = """
version = 2
root = "{base}/root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", {disabled}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
{more}
"""


class Containerd(Engine):
    """containerd, for all checks of one runtime."""

    command = ("ctr",)
    namespace = "default"
    disabled = '"io.containerd.grpc.v1.cri"'
    state = ("/run/containerd/runc/default", STATE / "default")
    # the checks start the daemon anew
    allowed = (r"^processes: \d+ (containerd --config|ctr events)",)
    numbers = itertools.count(1)

    def configuration(self):
        """What the configuration file has besides."""
        return ""

    def start(self):
        self.file = self.base / "config.toml"
        self.file.write_text(CONFIGURATION.format(base=self.base, socket=SOCKET, disabled=self.disabled, more=self.configuration()))
        self.start_daemon()
        for archive in images.archives(pathlib.Path(os.environ["ENGINES_CACHE"]), self.runtime):
            self.call("--namespace", self.namespace, "images", "import", archive, limit=300).ok()
        self.warm_up()
        self.snapshots = self.keys("snapshots")

    def start_daemon(self):
        self.log = self.base / "containerd.log"
        self.containerd = daemon.start(["containerd", "--config", self.file], self.log)
        until(lambda: self.call("version").status == 0, f"the start of containerd: {daemon.tail(self.log)}")
        self.told = self.base / "events.log"
        self.listener = daemon.start(["ctr", "events"], self.told)

    def stop_daemon(self):
        daemon.stop(self.listener)
        daemon.stop(self.containerd)

    def events(self, topic):
        """What was told of a topic so far."""
        # date, time, zone, its name, namespace, topic, JSON
        told = [line.split(" ", 6) for line in self.told.read_text().splitlines()]
        return [json.loads(words[6]) for words in told if len(words) == 7 and words[5] == topic and words[6].endswith("}")]

    def warm_up(self):
        """A container before anything is counted: parent cgroups are made once."""
        self.call("run", "--rm", "--runc-binary", YARDSTICK, BUSYBOX, "first", "true").ok()

    def stop(self):
        self.stop_daemon()
        daemon.remove_cgroup(self.namespace)

    def clean(self):
        for task in self.keys("tasks"):
            self.call("tasks", "kill", "--all", "--signal", "SIGKILL", task)
            self.call("tasks", "delete", "--force", task)
        for container in self.keys("containers"):
            self.call("containers", "delete", container).ok()
        # a snapshot that has children goes after them
        while made := self.keys("snapshots") - self.snapshots:
            if all([self.call("snapshots", "remove", snapshot).status for snapshot in made]):
                raise Mismatch(f"snapshots that cannot be removed: {made}")

    def keys(self, kind):
        """The names of all tasks, containers or snapshots."""
        words = ("list",) if kind == "snapshots" else ("list", "--quiet")
        lines = self.ok(kind, *words).splitlines()
        return {line.split()[0] for line in (lines[1:] if kind == "snapshots" else lines)}

    def name(self):
        """A name for a container that nothing else has."""
        return f"{self.unique}-{next(self.numbers)}"

    def run(self, *command, options=(), image=BUSYBOX, binary=None, **more):
        """A container that is removed at its end: `Finished`."""
        return self.call("run", "--rm", "--runc-binary", binary or self.runtime.path, *options, image, self.name(), *command, **more)

    def begin(self, *command, options=(), image=BUSYBOX):
        """The name of a container in the background."""
        name = self.name()
        self.call("run", "--detach", "--runc-binary", self.runtime.path, *options, image, name, *command).ok()
        return name

    def logged(self, *command, options=(), image=BUSYBOX):
        """The name of a container in the background, and the file of its output."""
        log = self.scratch / f"log-{next(self.numbers)}"
        return self.begin(*command, options=("--log-uri", f"file://{log}", *options), image=image), log

    def exec(self, container, *command, options=(), **more):
        return self.call("tasks", "exec", "--exec-id", f"exec-{next(self.numbers)}", *options, container, *command, **more)

    def task(self, container):
        """(process number, status) of a task, or nothing."""
        for line in self.ok("tasks", "list").splitlines()[1:]:
            name, pid, status = line.split()
            if name == container:
                return int(pid), status
        return None

    def status(self, container, wanted):
        """Waits until a task has a status."""
        until(lambda: (self.task(container) or (0, "none"))[1] == wanted, f"status {wanted} of {container}")

    def end(self, container):
        """Waits for a task's end and removes it; its exit status."""
        self.status(container, "STOPPED")
        self.call("tasks", "delete", container)

        def statuses():
            return [event.get("exit_status", 0) for event in self.events("/tasks/delete") if event["container_id"] == container]

        return until(lambda: [status] if (status := (statuses() or [None])[-1]) is not None else None, f"the event of the end of {container}")[0]

    def bundle(self, container):
        """The configuration a container's runtime was given."""
        return json.loads((STATE / self.namespace / container / "config.json").read_text())


containerd = Battery("containerd", Containerd)
