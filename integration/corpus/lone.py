"""Lone roots: Debian roots in which one package is installed, made when they are asked for and kept beside the reference."""

import contextlib
import fcntl
import shutil

import debian
import root


class Lone:
    """The directory REFERENCE.lone: for each package what apt added to and changed in the smallest root, which is .base (no package's name
    begins with a dot)."""

    def __init__(self, reference, archives=None):
        self.reference = reference
        path = reference.path.absolute()
        self.path = path.with_name(path.name + ".lone")
        self.archives = (archives or path.with_name(path.name + ".debs")).absolute()

    def layers(self, package):
        """Those of the root with `package`, the topmost first: made where they are missing, in the versions of the reference."""
        base, top = self.path / ".base", self.path / package
        with self.locked():
            if not base.exists():
                self.make_base(base)
            if not top.exists():
                self.make(package, base, top)
        # nothing is on top where the smallest root has the package
        holder = next(layer for layer in (top, base) if (layer / root.DATABASE / "status").exists())
        ours, wanted = (one.status.get(package, {}).get("Version") for one in (root.Reference(holder), self.reference))
        if ours != wanted:
            raise debian.Failure(f"{package} is {ours} in {top}, not {wanted}: remove {self.path}, which is of another reference")
        return [top, base]

    @contextlib.contextmanager
    def locked(self):
        """One at a time, among threads and runs: apt does not share its directory of .deb files. What an interrupted one left goes."""
        for directory in (self.path, self.archives / "partial"):
            directory.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.new, ignore_errors=True)
            yield

    @property
    def new(self):
        """Where a root is until it is whole."""
        return self.path / ".new"

    def make_base(self, base):
        made = debian.Root(self.new, self.archives)
        # the versions are those of the reference, whatever the mirror has by now
        made.make(self.reference.path / debian.LISTS)
        made.forget()
        self.new.rename(base)

    def make(self, package, base, top):
        with root.mounted(self.new, [base]) as path:
            made = debian.Root(path, self.archives)
            made.install([package])
            if made.installed().get(package) != "ii":
                raise debian.Failure(f"{package} cannot be installed alone: see {self.new}/upper/var/lib/reference")
            made.forget()
        (self.new / "upper").rename(top)
        shutil.rmtree(self.new)
