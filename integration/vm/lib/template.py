"""template.py DIRECTORY MODE: boots the machine in DIRECTORY and saves it while its agent waits for a job."""

import subprocess
import sys
import time

from machine import Machine, MachineError

LIMIT = 600


def main(state, mode):
    started = time.monotonic()
    deadline = started + LIMIT
    disk = f"{state}/{mode}.disk"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", f"{state}/root.disk", disk], check=True)
    with Machine(state, mode, restore=False) as machine:
        control = machine.channels["control"]
        control.settimeout(LIMIT)
        try:
            said = control.recv(64)
        except TimeoutError:
            said = b""
        if b"READY" not in said:
            sys.exit(f"integration/vm: the {mode} machine did not come up within {LIMIT} s\n{machine.story()}")
        booted = time.monotonic() - started
        # lets what the boot began in the background end
        time.sleep(2)
        try:
            machine.save(deadline)
        except MachineError as error:
            sys.exit(f"integration/vm: save the {mode} machine: {error}\n{machine.story()}")
    print(f"template {mode}: up after {booted:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
