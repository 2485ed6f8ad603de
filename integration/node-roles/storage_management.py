"""storage-management: a file system is made, filled, checked, mounted and exported; another container reads it by NBD and iSCSI."""

import os
import pathlib
import re
import secrets
import stat

TARGET = "iqn.2026-01.test.roles:disk"
MAKE = """
set -e
mkdir -p /tmp/filled/below
echo "$TOKEN" >/tmp/filled/below/token
seq 20000 >/tmp/filled/numbers
truncate -s 32M /data/disk
mke2fs -q -t ext4 -L roles -d /tmp/filled /data/disk
e2fsck -f -n /data/disk
"""
ISCSI = f"""
set -e
tgtd --iscsi portal=10.77.4.1:3260
for i in $(seq 50); do tgtadm --lld iscsi --op show --mode sys >/dev/null 2>&1 && break; sleep 0.1; done
tgtadm --lld iscsi --op new --mode target --tid 1 -T {TARGET}
tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b /data/disk
tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
"""


def device(path):
    """A device of the host, as a container's specification names it."""
    number = os.stat(path).st_rdev
    kind = "b" if stat.S_ISBLK(os.stat(path).st_mode) else "c"
    return {"path": path, "type": kind, "major": os.major(number), "minor": os.minor(number)}


def show(node):
    node.network("server", "10.77.4.1/24")
    node.network("client", "10.77.4.2/24")
    data = node.directory / "data"
    data.mkdir()
    token = secrets.token_hex(16)
    stay = ["sh", "-c", "while :; do sleep 1; done"]
    # loop devices are for the mount alone
    devices = [device(str(path)) for path in sorted(pathlib.Path("/dev").glob("loop[0-9]*")) if path.is_block_device()] + [device("/dev/loop-control")]
    server = node.container("server", ["storage-management"], stay, network="server", mounts=[(data, "/data", "rw")], devices=devices, env=[f"TOKEN={token}"], capabilities=("SYS_ADMIN", "IPC_LOCK", "SYS_NICE")).start()
    client = node.container("client", ["storage-management", "libnbd-bin"], stay, network="client", by="file").start()
    node.until("both containers are up", lambda: server.is_there() and client.is_there())

    done = server.shell(MAKE)
    node.expect("a file system is made, filled and found clean", re.search(r"^roles: 1\d/\d+ files", done.stdout, re.M), done)
    node.equal("its files are listed without a mount", server.call("debugfs", "-R", "cat /below/token", "/data/disk").stdout, f"{token}\n")
    mounted = server.shell("mkdir -p /mnt/disk && mount -o loop,ro /data/disk /mnt/disk && cat /mnt/disk/below/token && tail -n 1 /mnt/disk/numbers && umount /mnt/disk").stdout
    node.equal("and with one", mounted, f"{token}\n20000\n")
    node.expect("the file system is what blkid says", "ext4" in server.call("blkid", "-p", "/data/disk").stdout)

    # a copy is damaged: the check says so, and mends it
    done = server.shell("cp --sparse=always /data/disk /data/bad 2>/dev/null || cp /data/disk /data/bad; debugfs -w -R 'clri /below' /data/bad; e2fsck -f -n /data/bad; echo status $?; e2fsck -f -y /data/bad >/dev/null; e2fsck -f -n /data/bad >/dev/null; echo status $?", check=False)
    node.equal("damage is found, and mended", re.findall(r"^status (\d)$", done.stdout, re.M), ["4", "0"])

    server.shell("nbd-server 10.77.4.1@10809 /data/disk -r -C /dev/null -M 4")
    node.until("the file system is exported by NBD", lambda: client.call("nbdinfo", "--size", "nbd://10.77.4.1", check=False).stdout == f"{32 << 20}\n")
    client.call("nbdcopy", "nbd://10.77.4.1", "/root/disk")
    sums = [container.shell(f"sha256sum <{path}").stdout for container, path in ((server, "/data/disk"), (client, "/root/disk"))]
    node.equal("the other container reads the same bytes", sums[1], sums[0])
    node.equal("and the file in them", client.call("debugfs", "-R", "cat /below/token", "/root/disk").stdout, f"{token}\n")
    done = client.call("nbdcopy", "/root/disk", "nbd://10.77.4.1", check=False)
    node.expect("it cannot write to what is exported to be read", done.returncode != 0 and ("read-only" in done.stderr or "read only" in done.stderr.lower()), done)

    server.shell(ISCSI)
    done = client.call("iscsi-ls", "-s", "iscsi://10.77.4.1/")
    node.expect("it is exported by iSCSI", TARGET in done.stdout and re.search(r"Lun:1 +Type:DIRECT_ACCESS", done.stdout), done)
    done = client.call("iscsi-readcapacity16", f"iscsi://10.77.4.1/{TARGET}/1")
    node.expect("with its size", re.search(rf"Total size: *{32 << 20}\b", done.stdout), done)
    done = client.call("iscsi-ls", "-s", "iscsi://10.77.4.2/", check=False)
    node.expect("where nobody exports, there is none", done.returncode != 0, done)
    return f"ext4 of 32 MiB made, checked, mended, mounted, read by NBD ({sums[0][:8]}…) and seen by iSCSI"
