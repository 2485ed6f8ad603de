"""The reference root: what its packages hold and depend on, and runs of cases in a throw-away overlay above it."""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import subprocess

DATABASE = "var/lib/dpkg"
ALIASES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Reference:
    """A Debian root made by `reference`, only ever read."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.database = self.path / DATABASE
        if not (self.database / "status").exists():
            raise FileNotFoundError(f"no reference root in {path}: integration/corpus/reference {path} makes it")

    @functools.cached_property
    def status(self):
        """Fields of every installed package."""
        found = {}
        for paragraph in (self.database / "status").read_text(errors="replace").split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", paragraph, re.MULTILINE))
            if fields.get("Status") == "install ok installed":
                found[fields["Package"]] = fields
        return found

    @functools.cached_property
    def providers(self):
        found = {}
        for name, fields in self.status.items():
            for one in fields.get("Provides", "").split(","):
                found.setdefault(one.split("(")[0].strip(), []).append(name)
        return found

    def listed(self, package):
        """The paths a package owns, as dpkg wrote them down."""
        for name in (f"{package}.list", f"{package}:amd64.list"):
            file = self.database / "info" / name
            if file.exists():
                return [line for line in file.read_text().splitlines() if line not in ("/.", "")]
        raise LookupError(f"{package} is not installed in {self.path}")

    @functools.cached_property
    def owners(self):
        """Package by path, merged /usr."""
        found = {}
        for name in self.status:
            for path in self.listed(name):
                found[merged(path)] = name
        return found

    @functools.lru_cache(maxsize=None)
    def size(self, package):
        """Bytes of a package's files, by inode and size as du(1) does it without blocks."""
        seen = {}
        for path in self.listed(package):
            with contextlib.suppress(OSError):
                about = os.lstat(f"{self.path}{path}")
                if about.st_mode & 0o170000 == 0o100000:
                    seen[about.st_ino] = about.st_size
        return sum(seen.values())

    def closure(self, packages):
        """What packages depend on (Depends and Pre-Depends, as resolved by what is installed), themselves included."""
        found, left = set(), list(packages)
        while left:
            name = left.pop()
            if name in found or name not in self.status:
                continue
            found.add(name)
            for field in ("Depends", "Pre-Depends"):
                for group in filter(None, self.status[name].get(field, "").split(",")):
                    left.append(self.chosen(group))
        return found

    def chosen(self, group):
        names = [one.split("(")[0].split(":")[0].strip() for one in group.split("|")]
        for name in names:
            if name in self.status:
                return name
        for name in names:
            if name in self.providers:
                return self.providers[name][0]
        return names[0]

    def copy(self, package, rootfs, layout):
        """A package's own files as they are installed, into `rootfs`: modes, owners, extended attributes, hard links."""
        names = [path[1:] for path in self.listed(package) if os.path.lexists(f"{self.path}{path}")]
        if layout == "split":
            names = [name for name in names if name not in ALIASES]
        used = {name.split("/")[0] for name in names} & set(ALIASES)
        for alias in used:
            (rootfs / ("usr/" + alias if layout == "merged" else alias)).mkdir(parents=True, exist_ok=True)
            if layout == "merged":
                (rootfs / alias).symlink_to("usr/" + alias)
        names = [name for name in names if name not in ALIASES]
        options = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
        pack = subprocess.Popen(
            ["chroot", str(self.path), "tar", "-C", "/", "-cf", "-", "--no-recursion", "--ignore-failed-read", *options, "--null", "--verbatim-files-from", "-T", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        unpack = subprocess.Popen(["tar", "-C", str(rootfs), "-xpf", "-", "--keep-directory-symlink", *options], stdin=pack.stdout)
        pack.stdout.close()
        pack.stdin.write(b"\0".join(name.encode() for name in names) + b"\0")
        pack.stdin.close()
        if unpack.wait() or pack.wait():
            raise RuntimeError(f"copying the files of {package} into {rootfs}")


@contextlib.contextmanager
def mounted(place, lowers):
    """Directories (the topmost first) under an upper one of their own, mounted at place/merged for the time of the `with`."""
    for name in ("upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(place / "merged")], check=True)
    try:
        yield place / "merged"
    finally:
        subprocess.run(["umount", str(place / "merged")], check=True)


@contextlib.contextmanager
def overlay(place, lowers):
    """The same, and nothing is left of what was written."""
    try:
        with mounted(place, lowers) as merged_root:
            yield merged_root
    finally:
        shutil.rmtree(place)


def merged(path):
    """The path in a root where /bin and its like are links into /usr."""
    return "/usr" + path if path.split("/")[1] in ALIASES else path
