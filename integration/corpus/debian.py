"""A Debian root as mmdebstrap and apt make it, and nothing of ours: what `reference` and lone.py install into."""

import re
import shutil
import subprocess
import sys

MIRROR = "http://deb.debian.org/debian"
SOURCES = f"""deb {MIRROR} bookworm main
deb {MIRROR} bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
"""
SETTINGS = """APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
DPkg::Options { "--force-unsafe-io"; "--force-confnew"; };
Dpkg::Use-Pty "false";
"""
# on top of what mmdebstrap installs; the last makes fsync(2) of dpkg and its scripts free
FIRST = ["eatmydata"]
LISTS = "var/lib/apt/lists"

# What a root needs to run maintainer scripts: a /proc whose settings are read-only, devices without hardware, the cache of .deb files.
MOUNTS = r"""
set -e
root=$1 archives=$2 network=$3; shift 3
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount --bind "$archives" "$root/var/cache/apt/archives"
if [ "$network" = none ]; then ip link set lo up; fi
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true SYSTEMD_OFFLINE=1 "$@"
"""


class Root:
    """A Debian root that packages are installed into."""

    def __init__(self, path, archives):
        self.path, self.archives = path, archives
        self.notes = path / "var/lib/reference"

    def run(self, *command, network=False, check=True):
        namespaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"] + ([] if network else ["--net"])
        words = ["unshare", *namespaces, "sh", "-c", MOUNTS, "sh", str(self.path), str(self.archives), "host" if network else "none", *command]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        with open(self.notes / "log", "a") as log:
            log.write(f"# {' '.join(command)}\n{done.stdout}")
        if check and done.returncode:
            raise Failure(f"{' '.join(command[:6])} …: {done.stdout[-2000:]}")
        return done

    def make(self, lists=None):
        """The smallest root apt works in, with what keeps services from starting; it knows the packages of today or of another root's `lists`."""
        if not (self.path / "var/lib/dpkg/status").exists():
            subprocess.run(["mmdebstrap", "--mode=root", "--variant=minbase", "--skip=check/empty", "bookworm", str(self.path), MIRROR], check=True)
        if lists:
            shutil.copytree(lists, self.path / LISTS, dirs_exist_ok=True)
        self.notes.mkdir(parents=True, exist_ok=True)
        self.write("etc/apt/sources.list", SOURCES)
        self.write("etc/apt/apt.conf.d/90reference", SETTINGS)
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n").chmod(0o755)
        shutil.copyfile("/etc/resolv.conf", self.path / "etc/resolv.conf")
        if not any((self.path / LISTS).glob("*_bookworm-security_*Packages*")):
            self.run("apt-get", "update", network=True)
        self.install(FIRST)

    def write(self, name, text):
        path = self.path / name
        path.write_text(text)
        return path

    def installed(self):
        words = ["dpkg-query", f"--admindir={self.path}/var/lib/dpkg", "-W", "-f", "${Package} ${db:Status-Abbrev}\n"]
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def install(self, packages):
        """What is wanted of `packages`, downloaded with the network and installed without it; what apt refuses is tried in halves."""
        here = self.installed()
        missing = [name for name in packages if here.get(name) != "ii"]
        if not missing:
            return
        done = self.run("apt-get", "install", "-y", "--download-only", *missing, network=True, check=False)
        if done.returncode:
            if len(missing) == 1:
                self.note("refused", missing[0], done.stdout)
                return
            self.install(missing[: len(missing) // 2])
            self.install(missing[len(missing) // 2 :])
            return
        fast = ["eatmydata"] if here.get("eatmydata") == "ii" else []
        done = self.run(*fast, "apt-get", "install", "-y", *missing, check=False)
        while done.returncode:
            if not self.excuse(done.stdout):
                raise Failure(f"installing {' '.join(missing)}: {done.stdout[-3000:]}")
            done = self.run(*fast, "apt-get", "install", "-y", "--fix-broken", check=False)
        # an error may have kept apt from all of them
        here = self.installed()
        if any(here.get(name) != "ii" for name in missing):
            self.run(*fast, "apt-get", "install", "-y", *missing)

    def excuse(self, output):
        """Takes the maintainer scripts that failed out of the way; says whether there were any."""
        found = set(re.findall(r"^dpkg: error processing package ([^ :]+)\S* \(--configure\)", output, re.MULTILINE))
        failed = {name for name in found if self.script(name)}
        for name in failed:
            self.note("failed", name, output)
            script = self.script(name)
            script.rename(script.with_name(script.name + ".failed"))
        return bool(failed)

    def script(self, package):
        for name in (f"{package}.postinst", f"{package}:amd64.postinst"):
            path = self.path / "var/lib/dpkg/info" / name
            if path.exists():
                return path
        return None

    def forget(self):
        """Removes what apt works out again: a hundred megabytes that no other root shares."""
        for cache in (self.path / "var/cache/apt").glob("*.bin"):
            cache.unlink()

    def note(self, what, package, output):
        print(f"{what}: {package}", file=sys.stderr)
        with open(self.notes / what, "a") as notes:
            notes.write(f"{package}\n")
        (self.notes / f"{package}.{what}").write_text(output[-20000:])


class Failure(Exception):
    """A step that has to succeed."""
