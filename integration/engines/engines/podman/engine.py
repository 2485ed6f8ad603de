"""podman on storage and configuration of its own, and its batteries."""

import os
import pathlib

from .. import images
from ..harness import Battery, Engine

CONTAINERS_CONF = """
[containers]
# this machine's hard limits cannot be raised, and podman's own defaults would
default_ulimits = ["nofile=1024:4096", "nproc=4096:8192"]
pids_limit = 512
log_driver = "k8s-file"

[engine]
runtime = "{name}"
runtime_supports_json = ["{name}"]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "{pause}"
tmp_dir = "{base}/tmp"

[engine.runtimes]
{name} = ["{path}"]

[network]
network_backend = "{network}"
network_config_dir = "{base}/net.d"
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
    # podman's own parent of all containers' cgroups stays, and the file its locks are in
    allowed = (r"^cgroups: \S*/libpod_parent(/conmon)?$",)

    def start(self):
        # conmon passes no environment on to the podman that cleans up after a container: the files are in their usual places
        self.configure("containers.conf", CONTAINERS_CONF)
        self.configure("storage.conf", STORAGE_CONF)
        self.configure("registries.conf", 'unqualified-search-registries = ["localhost"]\n')
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.base / "home")}
        (self.base / "home").mkdir()
        for archive in images.archives(pathlib.Path(os.environ["ENGINES_CACHE"]), self.runtime):
            self.ok("load", "--quiet", "--input", archive, limit=300)

    def configure(self, name, text):
        (pathlib.Path("/etc/containers") / name).write_text(text.format(
            name=self.runtime.name, path=self.runtime.path, base=self.base, network=self.network, pause=images.base("pause")
        ))

    def clean(self):
        # what is paused cannot be stopped
        paused = self.ok("ps", "--all", "--quiet", "--filter", "status=paused").split()
        if paused:
            self.call("unpause", *paused)
        self.ok("pod", "rm", "--all", "--force", "--time=0")
        self.ok("rm", "--all", "--force", "--time=0", "--depend")
        self.ok("volume", "rm", "--all", "--force")
        for network in self.ok("network", "ls", "--format={{.Name}}").split():
            if network != "podman":
                self.ok("network", "rm", "--force", network)

    def stop(self):
        pass


podman = Battery("podman", Podman)
