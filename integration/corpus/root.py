"""The reference root: what its packages hold and depend on, and runs of cases in a throw-away overlay above it."""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import stat
import subprocess

ALIASES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Reference:
    """A Debian root made by `reference`, only ever read."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.database = self.path / "var/lib/dpkg"
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

    @functools.cached_property
    def base(self):
        """The packages of the smallest Debian root, which every other has too."""
        return self.closure(name for name, fields in self.status.items() if fields.get("Essential") == "yes" or fields.get("Priority") == "required")

    def strangers(self, package):
        """The topmost paths that neither `package` nor what it depends on nor the smallest root has, but another package."""
        own = self.closure([package]) | self.base
        kept = {merged(path) for name in own for path in self.listed(name)}
        found, below = set(), set()
        for path in sorted(self.owners):
            if path not in kept:
                parent = path.rsplit("/", 1)[0]
                (below if parent in found or parent in below else found).add(path)
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
    def overlay(self, place, without=()):
        """The root with an upper directory of its own, mounted at place/merged for the time of the `with`; `without` are paths it
        does not have."""
        for name in ("upper", "work", "merged"):
            (place / name).mkdir(parents=True)
        self.hide(place / "upper", without)
        options = f"lowerdir={self.path},upperdir={place}/upper,workdir={place}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(place / "merged")], check=True)
        try:
            yield place / "merged"
        finally:
            subprocess.run(["umount", str(place / "merged")], check=True)
            shutil.rmtree(place)


    def hide(self, upper, paths):
        """Whiteouts (overlayfs.rst), below directories as they are in the root."""
        made = {""}
        for path in sorted(paths):
            if not os.path.lexists(f"{self.path}{path}"):
                continue
            names = path.split("/")
            for end in range(2, len(names)):
                directory = "/".join(names[:end])
                if directory not in made:
                    about = os.stat(f"{self.path}{directory}")
                    os.mkdir(f"{upper}{directory}")
                    os.chown(f"{upper}{directory}", about.st_uid, about.st_gid)
                    os.chmod(f"{upper}{directory}", about.st_mode & 0o7777)
                    made.add(directory)
            os.mknod(f"{upper}{path}", 0o600 | stat.S_IFCHR, 0)


def merged(path):
    """The path in a root where /bin and its like are links into /usr."""
    return "/usr" + path if path.split("/")[1] in ALIASES else path
