"""The QEMU process of one machine: its hardware, its monitor, its end.

A template is a machine saved while its agent waits for a job: RAM in a file that QEMU maps, the devices' state beside it.
QEMU restores only what has the same hardware, so both are started from the one command line made here.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time

SHARES = 6
MEMORY = 2048
PROCESSORS = 2
PORTS = ("control", "out", "err")
KERNEL_WORDS = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check audit=0 psi=1 cgroup_no_v1=all "
    "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 rcupdate.rcu_expedited=1 random.trust_cpu=on"
)


class MachineError(Exception):
    """The machine, not the job in it, went wrong."""


class Machine:
    """A running QEMU. Use as a context manager: it is killed, by its pid, on the way out, whatever that is."""

    def __init__(self, state, mode, shares=(), restore=True):
        self.template = os.path.join(state, mode)
        self.state = state
        self.mode = mode
        self.shares = list(shares)
        self.restore = restore
        self.channels = {}
        self.process = None
        # unlinked: nothing stays, not even when we are killed
        self.console = tempfile.TemporaryFile()
        self.complaints = tempfile.TemporaryFile()

    def __enter__(self):
        ends = {}
        for name in PORTS + ("monitor",):
            self.channels[name], ends[name] = socket.socketpair()
        descriptors = [end.fileno() for end in ends.values()] + [self.console.fileno()]
        # the kernel ends QEMU when we are killed
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command(ends)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.complaints,
            stderr=self.complaints,
            pass_fds=descriptors,
            start_new_session=True,
        )
        for end in ends.values():
            end.close()
        self.monitor = Monitor(self.channels["monitor"])
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for channel in self.channels.values():
            channel.close()

    def story(self):
        """What QEMU and the machine's console said last."""
        told = []
        for name, file in (("qemu", self.complaints), ("console", self.console)):
            file.seek(0)
            text = file.read()[-3000:].decode(errors="replace").strip()
            if text:
                told.append(f"--- {name}\n{text}")
        return "\n".join(told)

    def _command(self, ends):
        memory_shared = "off" if self.restore else "on"
        snapshot = "on" if self.restore else "off"
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35,memory-backend=ram,usb=off,vmport=off,sata=off,smbus=off,hpet=off",
            "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", str(PROCESSORS), "-m", f"{MEMORY}M",
            "-object", f"memory-backend-file,id=ram,size={MEMORY}M,mem-path={self.template}.ram,share={memory_shared}",
            "-serial", f"file:/dev/fd/{self.console.fileno()}",
            "-drive", f"if=none,id=disk,file={self.template}.disk,format=raw,snapshot={snapshot},cache=unsafe,aio=threads",
            "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci,max_ports=8",
            "-chardev", f"socket,id=monitor,fd={ends['monitor'].fileno()}", "-mon", "chardev=monitor,mode=control",
        ]  # fmt: skip
        for number, name in enumerate(PORTS, 1):
            command += ["-chardev", f"socket,id={name},fd={ends[name].fileno()}"]
            command += ["-device", f"virtserialport,chardev={name},name=vm.{name},nr={number}"]
        for number in range(SHARES):
            # hardware that is not used has to be there all the same
            mode, path = self.shares[number] if number < len(self.shares) else ("ro", os.path.join(self.state, "empty"))
            readonly = ",readonly=on" if mode == "ro" else ""
            command += ["-fsdev", f"local,id=share{number},path={path},security_model=none,multidevs=remap{readonly}"]
            command += ["-device", f"virtio-9p-pci,fsdev=share{number},mount_tag=share{number}"]
        words = KERNEL_WORDS + (" vm_init=/usr/local/lib/vm/init" if self.mode == "plain" else "")
        command += ["-kernel", os.path.join(self.state, "vmlinux"), "-initrd", os.path.join(self.state, "initramfs")]
        command += ["-append", words]
        if self.restore:
            command += ["-incoming", "defer"]
        return command

    def resume(self, deadline):
        """Restores the template; the agent goes on where it waited for a job."""
        self.monitor.call("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        self.monitor.call("migrate-incoming", uri=f"exec:cat {shlex.quote(self.template + '.state')}")
        self._migrated(deadline)
        self.monitor.call("cont")

    def save(self, deadline):
        """Makes this machine, whose agent waits, the template of its mode."""
        self.monitor.call("stop")
        # the RAM is in its file already
        self.monitor.call("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        self.monitor.call("migrate-set-parameters", **{"max-bandwidth": 0})
        partial = self.template + ".state.partial"
        self.monitor.call("migrate", uri=f"exec:cat > {shlex.quote(partial)}")
        self._migrated(deadline)
        self.monitor.call("quit")
        self.process.wait(60)
        os.rename(partial, self.template + ".state")

    def _migrated(self, deadline):
        while True:
            status = self.monitor.call("query-migrate").get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise MachineError(f"migration {status}")
            if time.monotonic() > deadline:
                raise MachineError(f"migration is {status} after the time limit")
            time.sleep(0.01)


class Monitor:
    """QEMU's monitor protocol, as much as is needed of it."""

    def __init__(self, channel):
        channel.settimeout(60)
        self.file = channel.makefile("rwb", buffering=0)
        self._line()
        self.call("qmp_capabilities")

    def _line(self):
        try:
            line = self.file.readline()
        except TimeoutError as error:
            raise MachineError("QEMU's monitor does not answer") from error
        if not line:
            raise MachineError("QEMU has ended")
        return json.loads(line)

    def call(self, command, **arguments):
        try:
            self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise MachineError("QEMU has ended") from error
        while True:
            answer = self._line()
            if "error" in answer:
                raise MachineError(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
