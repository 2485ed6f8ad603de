"""containerd's service of the container runtime interface: pods on a bridge of their own, and a small client."""

import base64
import json
import os
import pathlib
import subprocess

from .. import images
from ..commands import Mismatch, call, until
from ..containerd.engine import SOCKET, STATE, YARDSTICK, Containerd
from ..harness import Battery

BUSYBOX = images.base("busybox")
DEBIAN = images.base("debian")
HERE = pathlib.Path(__file__).resolve().parent
PLUGINS = "/usr/lib/cni"
HANDLER = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["dev.fragment.*"]
  container_annotations = ["dev.fragment.*"]
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
    BinaryName = "{path}"
"""
# a pause image without Env: what Kubernetes' own has, a runtime must not rely on
CONFIGURATION = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "tested"
  snapshotter = "overlayfs"
"""
NETWORK = {
    "cniVersion": "0.4.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


class Refused(Mismatch):
    """An error that the service answers with."""


class Cri(Containerd):
    """The interface, for all checks of one runtime."""

    namespace = "k8s.io"
    disabled = ""
    state = ("/run/containerd/runc/k8s.io", STATE / "k8s.io", "/run/containerd/io.containerd.grpc.v1.cri/sandboxes", "/run/containerd/io.containerd.grpc.v1.cri/containers")

    def configuration(self):
        network = self.base / "network"
        network.mkdir(parents=True)
        (network / "10-pods.conflist").write_text(json.dumps(NETWORK))
        service = CONFIGURATION.format(pause=images.base("pause-without-env"), plugins=PLUGINS, network=network)
        return service + HANDLER.format(name="tested", path=self.runtime.path) + HANDLER.format(name="yardstick", path=YARDSTICK)

    def start(self):
        self.client = None
        super().start()

    def start_daemon(self):
        super().start_daemon()
        self.connect()

        def ready():
            conditions = self.ask("Status")["status"]["conditions"]
            return conditions and all(condition["status"] for condition in conditions)

        until(ready, "a service that is ready")

    def connect(self):
        python = pathlib.Path(os.environ["ENGINES_CACHE"]) / "grpc/bin/python"
        self.client = subprocess.Popen([python, HERE / "client", SOCKET], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def disconnect(self):
        self.client.stdin.close()
        self.client.wait()
        self.client.stdout.close()

    def stop_daemon(self):
        self.disconnect()
        super().stop_daemon()

    # the client is a process that every start of the daemon makes anew
    # and a parent of a pod's cgroup is its maker's
    allowed = (*Containerd.allowed, r"^processes: \d+ \S*/grpc/bin/python ", r"^cgroups: .*/k8s.io/pods(/one)?$")

    def warm_up(self):
        """A pod of the yardstick's makes the bridge, and cgroups that stay."""
        self.unique = "warm-up"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.pod(handler="yardstick")
        self.clean()

    def stop(self):
        super().stop()
        call(["ip", "link", "delete", "pods0"])

    def clean(self):
        """Containers go with their pods."""
        for pod in self.ask("ListPodSandbox")["items"]:
            self.ask("StopPodSandbox", pod_sandbox_id=pod["id"])
            self.ask("RemovePodSandbox", pod_sandbox_id=pod["id"])

    def ask(self, name, **request):
        """The answer to a call, as a dictionary with the names of runtime.proto."""
        self.client.stdin.write(json.dumps({"call": name, "request": request}) + "\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        if not line:
            raise Mismatch(f"the client ended at {name}")
        said = json.loads(line)
        if "error" in said:
            raise Refused(f"{name}: {said['code']}: {said['error']}")
        return said["answer"]

    def refused(self, name, **request):
        """The words of the error that a call is answered with."""
        try:
            self.ask(name, **request)
        except Refused as error:
            return str(error)
        raise Mismatch(f"{name}: succeeded")

    def pod(self, handler="tested", **config):
        return Pod(self, handler, config)

    def run(self, *command, image=BUSYBOX, pod=None, **config):
        """What a container in a pod of its own printed, when it has ended with 0."""
        container = (pod or self.pod()).start(*command, image=image, **config)
        status = container.end()
        if status["exit_code"] != 0:
            raise Mismatch(f"{command}: ended with {status['exit_code']}: {container.log()}")
        return container.log().strip()


class Pod:
    """A sandbox that runs."""

    def __init__(self, service, handler, config):
        self.service = service
        number = next(service.numbers)
        self.logs = service.scratch / f"logs-{number}"
        self.config = {"metadata": {"name": f"pod-{number}", "uid": f"uid-{number}", "namespace": "battery"}, "log_directory": str(self.logs), **config}
        self.id = service.ask("RunPodSandbox", config=self.config, runtime_handler=handler)["pod_sandbox_id"]

    def status(self, **more):
        return self.service.ask("PodSandboxStatus", pod_sandbox_id=self.id, **more)

    def address(self):
        return self.status()["status"]["network"]["ip"]

    def create(self, *command, image=BUSYBOX, **config):
        return Container(self, command, image, config)

    def start(self, *command, **config):
        container = self.create(*command, **config)
        container.start()
        return container


class Container:
    """A container of a pod."""

    def __init__(self, pod, command, image, config):
        self.service = pod.service
        name = f"container-{next(pod.service.numbers)}"
        self.file = pod.logs / f"{name}.log"
        config = {"metadata": {"name": name}, "image": {"image": image}, "command": command, "log_path": self.file.name, **config}
        self.id = self.service.ask("CreateContainer", pod_sandbox_id=pod.id, sandbox_config=pod.config, config=config)["container_id"]

    def ask(self, name, **more):
        return self.service.ask(name, container_id=self.id, **more)

    def start(self):
        self.ask("StartContainer")

    def status(self):
        return self.ask("ContainerStatus")["status"]

    def end(self):
        """Waits for its end; its status."""
        until(lambda: self.status()["state"] == "CONTAINER_EXITED", f"the end of {self.id}")
        return self.status()

    def lines(self):
        """(stream, whole or part, text) of every line of the log."""
        lines = self.file.read_text().splitlines() if self.file.exists() else ()
        return [tuple(line.split(" ", 3)[1:]) for line in lines]

    def log(self):
        """What it has printed."""
        return "".join(text + ("\n" if mark == "F" else "") for _, mark, text in self.lines())

    def exec(self, *command, status=0, timeout=30):
        """Standard output of a command beside it."""
        said = self.ask("ExecSync", cmd=command, timeout=timeout)
        output, errors = (base64.b64decode(said[stream]).decode(errors="replace") for stream in ("stdout", "stderr"))
        if said["exit_code"] != status:
            raise Mismatch(f"{command}: expected status {status}, saw {said['exit_code']}: {output}{errors}")
        return output if output else errors

    def process(self):
        """The number of its first process."""
        return json.loads(self.service.ask("ContainerStatus", container_id=self.id, verbose=True)["info"]["info"])["pid"]

    def bundle(self):
        """The configuration its runtime was given."""
        return self.service.bundle(self.id)


cri = Battery("cri", Cri)
