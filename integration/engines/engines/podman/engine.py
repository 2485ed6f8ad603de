"""podman on storage and configuration of its own, and its batteries."""

import os
import pathlib
import shutil

from .. import cage, images
from ..commands import call
from ..harness import Battery, Engine

CONTAINERS_CONF = """
[containers]
# this machine's hard limits cannot be raised, and podman's own defaults would
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
log_driver = "k8s-file"

[engine]
runtime = "{name}"
runtime_supports_json = ["{name}"]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{pause}"

[engine.runtimes]
{name} = ["{path}"]

[network]
network_backend = "{network}"
"""

STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "{base}/storage"
runroot = "{base}/run"
"""


class Podman(Engine):
    command = ("podman",)
    network = "cni"
    configuration = pathlib.Path("/etc/containers")
    allowed = (
        # podman's own parent of all containers' cgroups stays, and one that a check chooses
        r"^cgroups: \S*/(libpod_parent|chosen)(/conmon)?$",
        # and, in the hierarchies without controllers, those it makes for pods
        r"^cgroups: /sys/fs/cgroup/(systemd|unified)/libpod_parent/[0-9a-f]{64}$",
    )

    def start(self):
        # conmon passes no environment on to the podman that cleans up after a container: the files are in their usual places
        self.configuration.mkdir(parents=True, exist_ok=True)
        self.configure("containers.conf", CONTAINERS_CONF)
        self.configure("storage.conf", STORAGE_CONF)
        self.configure("registries.conf", 'unqualified-search-registries = ["localhost"]\n')
        self.environment = self.surroundings()
        for archive in images.archives(pathlib.Path(os.environ["ENGINES_CACHE"]), self.runtime):
            self.load(archive)

    def load(self, archive):
        self.ok("load", "--quiet", "--input", archive, limit=300)

    def configure(self, name, text):
        (self.configuration / name).write_text(
            text.format(name=self.runtime.name, path=self.runtime.path, base=self.base, network=self.network, pause=images.base("pause"))
        )

    def surroundings(self):
        """The environment of podman."""
        home = self.base / "home"
        home.mkdir()
        return {"PATH": os.environ["PATH"], "HOME": str(home)}

    def clean(self):
        # what is paused cannot be stopped
        if paused := self.ok("ps", "--all", "--quiet", "--filter", "status=paused").split():
            self.call("unpause", *paused)
        self.ok("pod", "rm", "--all", "--force", "--time=0")
        self.ok("rm", "--all", "--force", "--time=0", "--depend")
        self.ok("volume", "rm", "--all", "--force")
        for network in self.ok("network", "ls", "--format={{.Name}}").split():
            if network != "podman":
                self.ok("network", "rm", "--force", network)

    def stop(self):
        for name in ("containers.conf", "storage.conf", "registries.conf"):
            (self.configuration / name).unlink()

    # what checks say most

    def run(self, *words, **options):
        """A container that is removed at its end."""
        return self.call("run", "--rm", *words, **options)

    def detached(self, *words):
        """The id of a container that runs in the background."""
        return self.ok("run", "--detach", *words)

    def inspect(self, thing, template):
        return self.ok("inspect", "--format", template, thing)

    def logs(self, container):
        """What a container printed, standard output before standard error."""
        finished = self.call("logs", container).ok()
        return finished.output + finished.errors


class Rootless(Podman):
    """podman as a user who has subordinate ids and may not write any cgroup."""

    user = (cage.TENANT_ID, cage.TENANT_ID)
    network = "netavark"
    configuration = cage.HOME / ".config/containers"
    # a user's composed containers stand on a library of the user's own
    library = cage.HOME / ".local/share/fragment"
    state = (*(str(cage.RUNTIME_DIRECTORY / name) for name in ("runc", "fragment-runc")), str(library / "leases"))
    # the process that keeps podman's user namespace
    allowed = (r"^processes: \d+ (catatonit -P|podman)$",)

    def start(self):
        shutil.chown(self.base, *self.user)
        if not self.library.exists():
            self.library.parent.mkdir(parents=True)
            call(["cp", "--archive", "/var/lib/fragment", self.library]).ok()
            configuration = cage.HOME / ".config/fragment/fragment.yaml"
            configuration.parent.mkdir(parents=True)
            configuration.write_text(f"store: {self.library}\n")
            call(["chown", "--recursive", ":".join(map(str, self.user)), cage.HOME]).ok()
        super().start()

    def surroundings(self):
        return {"PATH": os.environ["PATH"], "HOME": str(cage.HOME), "XDG_RUNTIME_DIR": str(cage.RUNTIME_DIRECTORY)}

    def stop(self):
        # ends that process
        self.ok("system", "migrate")
        super().stop()


BUSYBOX = images.base("busybox")
# ends at once when it is told to
STAY = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")

podman = Battery("podman", Podman)
rootless = Battery("podman-rootless", Rootless)
