"""What the demonstrations of node roles have: namespaces of a network of their own, and containers of bundles that hold nothing.

Everything is made below one directory and named after one process; `Node.end` and `Node.remove` undo it, and `sweep` what a killed run left.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
FRAGMENT = os.environ.get("FRAGMENT", str(TOP / "target/bin/fragment"))
RUNTIME = os.environ.get("FRAGMENT_RUNC", str(TOP / "target/bin/fragment-runc"))
STORE = os.environ.get("FRAGMENT_STORE", str(TOP / "target/library"))
HOME = TOP / "target/node-roles"
# no wishes of the node or of the caller: what is composed is what the demonstration says
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FRAGMENT_")} | {"FRAGMENT_STORE": STORE, "FRAGMENT_CONFIG": "/dev/null"}
# seconds that one command may take
PATIENCE = 60
# what docker gives, less what nobody here needs
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")


class Failed(Exception):
    """A demonstration that does not show what it should."""


def call(*words, check=True, timeout=PATIENCE, **more):
    """Runs a command; its output is text."""
    done = subprocess.run([str(word) for word in words], env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(str(word) for word in words)}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done


class Node:
    """One demonstration: its directory, its networks, its containers and what it has found to be so."""

    def __init__(self, role):
        self.role = role
        self.tag = f"node-roles-{os.getpid()}"
        self.directory = HOME / f"run-{os.getpid()}" / role
        self.directory.mkdir(parents=True)
        self.containers, self.networks, self.found = [], [], []

    # ---- assertions

    def expect(self, what, holds, detail=""):
        """One thing that has to be so."""
        if not holds:
            raise Failed(f"not so: {what}\n{str(detail)[-2000:]}{self.logs()}")
        self.found.append(what)

    def equal(self, what, found, expected):
        self.expect(what, found == expected, f"found {found!r}, expected {expected!r}")

    def until(self, what, holds, seconds=PATIENCE):
        """Waits for something that has to become so."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Failed(f"never so within {seconds} s: {what}{self.logs()}")
            for container in self.containers:
                if container.is_watched and container.process and container.process.poll() is not None:
                    raise Failed(f"{container.name} ended, waiting for: {what}{self.logs()}")
            time.sleep(0.1)
        self.found.append(what)

    def logs(self):
        return "".join(f"\n-- {container.name}:\n{container.said()[-1500:]}" for container in self.containers)

    # ---- networks

    def network(self, name, address=None, switch="switch"):
        """A network namespace whose `eth0` hangs on the bridge of another one."""
        if not any(known == f"{self.tag}-{switch}" for known in self.networks):
            self.namespace(switch)
            self.ip(switch, "link", "add", "bridge", "type", "bridge")
            self.ip(switch, "link", "set", "bridge", "up")
        self.namespace(name)
        self.ip(switch, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"{self.tag}-{name}")
        self.ip(switch, "link", "set", f"to-{name}", "master", "bridge", "up")
        self.ip(name, "link", "set", "eth0", "up")
        if address:
            self.ip(name, "address", "add", address, "dev", "eth0")
        return name

    def namespace(self, name):
        # first in the list: one that is made and not finished has to go too
        self.networks.append(f"{self.tag}-{name}")
        call("ip", "netns", "add", f"{self.tag}-{name}")
        self.ip(name, "link", "set", "lo", "up")

    def ip(self, name, *words):
        return call("ip", "-n", f"{self.tag}-{name}", *words)

    # ---- containers

    def container(self, name, components, command, **more):
        container = Container(self, name, components, command, **more)
        self.containers.append(container)
        return container

    def run(self, components, *command, network=None, check=True, timeout=PATIENCE):
        """`fragment run`: a command that exists in the library alone, to its end."""
        chosen = [word for component in components for word in ("--component", component)]
        place = ["--network", f"ns:/run/netns/{self.tag}-{network}"] if network else []
        words = [FRAGMENT, "run", "--timeout", f"{timeout - 5}s", *place, *chosen, "--", *command]
        return call(*words, check=check, timeout=timeout, stdin=subprocess.DEVNULL)

    # ---- the end

    def end(self):
        """Ends containers and networks, whatever state they are in, and tells what would not go."""
        problems = []
        for container in reversed(self.containers):
            try:
                container.close()
            except (Failed, subprocess.SubprocessError, OSError) as error:
                problems.append(f"{container.name}: {error}")
        for network in reversed(self.networks):
            call("ip", "netns", "delete", network, check=False)
        return problems

    def remove(self):
        """Removes the rest, and tells what is left of all."""
        # what was killed goes when the kernel has undone it
        end = time.monotonic() + 10
        while (remains := left(self.tag, self.directory)) and time.monotonic() < end:
            time.sleep(0.1)
        shutil.rmtree(self.directory, ignore_errors=True)
        return remains


class Container:
    """A container whose bundle holds no file but those given: what runs in it is composed."""

    def __init__(self, node, name, components, command, network=None, capabilities=(), mounts=(), devices=(), env=(), files=None, shared=(), by="annotation"):
        self.node, self.name = node, f"{node.tag}-{name}"
        self.directory = node.directory / name
        self.process, self.is_watched = None, True
        rootfs = self.directory / "rootfs"
        rootfs.mkdir(parents=True)
        for path, text in (files or {}).items():
            (rootfs / path).parent.mkdir(parents=True, exist_ok=True)
            (rootfs / path).write_text(text)
            (rootfs / path).chmod(0o755)
        call(RUNTIME, "spec", "--bundle", self.directory)
        path = self.directory / "config.json"
        spec = json.loads(path.read_text())
        # the three ways of docs/control.md in which a person names what a container is made of
        if by == "annotation":
            spec["annotations"] = {"dev.fragment.components": ",".join(components)}
        elif by == "file":
            (rootfs / ".fragment.yaml").write_text(f"components: [{', '.join(components)}]\n")
        else:
            raise ValueError(by)
        granted = [f"CAP_{capability}" for capability in (*CAPABILITIES, *capabilities)]
        spec["process"].update(terminal=False, args=list(command), env=[*spec["process"]["env"], *env])
        spec["process"]["capabilities"] = {kind: granted for kind in ("bounding", "effective", "permitted")}
        spec["root"]["readonly"] = False
        spec["hostname"] = name
        spec["mounts"] += [{"destination": to, "source": str(source), "type": "bind", "options": ["bind", *options]} for source, to, *options in mounts]
        spec["linux"]["cgroupsPath"] = f"/{self.name}"
        spec["linux"]["devices"] = [device | {"fileMode": 0o660} for device in devices]
        spec["linux"]["resources"]["devices"] += [{"allow": True, "type": one["type"], "major": one["major"], "minor": one["minor"], "access": "rwm"} for one in devices]
        spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] not in shared]
        if network:
            place = next(one for one in spec["linux"]["namespaces"] if one["type"] == "network")
            place["path"] = f"/run/netns/{node.tag}-{network}"
        path.write_text(json.dumps(spec))

    def words(self, *more):
        return [RUNTIME, "--root", str(self.node.directory / "state"), *more]

    def start(self):
        """Runs its command beside us."""
        with open(self.directory / "log", "ab") as log:
            words = self.words("run", "--bundle", str(self.directory), self.name)
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT)
        return self

    def finish(self, timeout=PATIENCE):
        """Runs its command to the end: its exit status and what it printed."""
        self.is_watched = False
        self.start()
        return self.process.wait(timeout=timeout), self.said()

    def said(self):
        log = self.directory / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def call(self, *command, check=True, timeout=PATIENCE):
        """A command in the running container."""
        return call(*self.words("exec", self.name, *command), check=check, timeout=timeout, stdin=subprocess.DEVNULL)

    def shell(self, text, check=True, timeout=PATIENCE):
        return self.call("sh", "-c", text, check=check, timeout=timeout)

    def kill(self):
        """Without a warning, as a machine that loses its power."""
        self.is_watched = False
        call(*self.words("kill", self.name, "KILL"))
        self.process.wait(timeout=PATIENCE)
        self.process = None

    def is_there(self):
        return call(*self.words("state", self.name), check=False).returncode == 0

    def close(self):
        self.is_watched = False
        if self.process:
            # `run` deletes what has ended; what it cannot end goes by force
            call(*self.words("kill", self.name, "KILL"), check=False)
            try:
                self.process.wait(timeout=PATIENCE)
            finally:
                call(*self.words("delete", "--force", self.name))
                self.process = None


def left(tag, directory):
    """What is still there of what was named `tag` or made below `directory`."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    found = [f"mount {line.split()[4]}" for line in mounts if str(directory) in line or tag in line]
    found += [f"cgroup {path}" for path in pathlib.Path("/sys/fs/cgroup").glob(f"**/{tag}-*")]
    found += [f"network namespace {path.name}" for path in pathlib.Path("/run/netns").glob(f"{tag}-*")]
    found += [f"lease {path.name}" for path in (pathlib.Path(STORE) / "leases").glob("*") if str(directory) in path.read_text(errors="replace")]
    found += [f"loop device {path}" for path in loops(directory)]
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        if process.name != str(os.getpid()) and (str(directory) in words or re.search(rf"/{re.escape(tag)}-", groups)):
            found.append(f"process {process.name}: {words[:100]}")
    return found


def loops(directory):
    """Loop devices of files below a directory."""
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if str(directory) in backing.read_text():
                yield f"/dev/{backing.parts[3]}"
        except OSError:
            continue


def sweep():
    """What runs that were killed have left."""
    for directory in HOME.glob("run-*"):
        pid = directory.name.removeprefix("run-")
        if pathlib.Path(f"/proc/{pid}").exists():
            continue
        for state in directory.glob("*/state"):
            for container in [*state.glob("*"), *state.glob(".fragment/*")]:
                call(RUNTIME, "--root", state, "delete", "--force", container.name, check=False)
        for network in pathlib.Path("/run/netns").glob(f"node-roles-{pid}-*"):
            call("ip", "netns", "delete", network.name, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def expire(*_):
    raise Failed("it takes too long")


def limit(seconds):
    """The time a demonstration may take; 0 takes the limit away."""
    signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
