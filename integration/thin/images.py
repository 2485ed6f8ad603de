"""Six full Debian images: a base made by mmdebstrap, and on it, as a Dockerfile would, packages and an app.

Every image is an OCI layout of two layers, kept below target/engines/thin and made again when its description changes.
"""

import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
CACHE = TOP / "target/engines/thin"
SUITE = "bookworm"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Image:
    """What is installed, what is copied (place: file below apps/, mode), what is run in it, and its configuration."""

    packages: tuple
    command: tuple
    probe: tuple
    files: dict = dataclasses.field(default_factory=dict)
    run: str = "true"
    user: str = ""
    port: int = 8080
    # requests: HTTP targets, or lines of the redis protocol
    requests: tuple = ()
    protocol: str = "http"


IMAGES = {
    "nginx": Image(
        ("nginx",),
        ("nginx", "-g", "daemon off;"),
        ("/bin/sh", "-c", "nginx -t 2>&1"),
        {"etc/nginx/conf.d/site.conf": ("nginx/site.conf", 0o644), "srv/www/index.html": ("nginx/index.html", 0o644)},
        requests=("/", "/index.html", "/old", "/gone"),
    ),
    "python": Image(
        ("python3",),
        ("/app/app.py",),
        ("/app/app.py", "--probe"),
        {"app/app.py": ("python/app.py", 0o755)},
        run="useradd --system --home /var/lib/app --create-home app",
        user="app",
        requests=("/sum/a", "/count/x", "/count/x", "/gone"),
    ),
    "node": Image(
        ("nodejs",),
        ("node", "/app/app.js"),
        ("node", "/app/app.js", "--probe"),
        {"app/app.js": ("node/app.js", 0o644), "app/greeting.js": ("node/greeting.js", 0o644)},
        requests=("/", "/sum/a", "/gone"),
    ),
    "redis": Image(
        ("redis-server",),
        ("redis-server", "/etc/redis/redis.conf"),
        ("redis-cli", "ping"),
        {"etc/redis/redis.conf": ("redis/redis.conf", 0o640)},
        run="chown redis:redis /etc/redis/redis.conf",
        user="redis",
        port=6379,
        requests=("PING", "SET colour blue", "GET colour", "EVAL 'return {1,2,redis.call(\"GET\",\"colour\")}' 0", "SAVE", "NONSENSE"),
        protocol="redis",
    ),
    "cpp": Image(
        ("libstdc++6", "libssl3", "zlib1g"),
        ("/usr/local/bin/service",),
        ("/usr/local/bin/service", "--probe"),
        {"usr/local/bin/service": ("cpp/service", 0o755)},
        requests=("/", "/sum/a", "/gone"),
    ),
    "perl": Image(
        ("perl",),
        ("/srv/server.pl",),
        ("/srv/server.pl", "--probe"),
        {"srv/server.pl": ("perl/server.pl", 0o755), "srv/cgi-bin/sum": ("perl/sum", 0o755)},
        requests=("/cgi-bin/sum?text=a%20b", "/cgi-bin/sum", "/gone"),
    ),
}


def call(*words, **keywords):
    subprocess.run([str(word) for word in words], check=True, **keywords)


def base():
    """The root filesystem below all, as a directory and as the diff of its layer."""
    directory = CACHE / f"base-{SUITE}"
    if not directory.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(f"{directory}.new")
        subprocess.run(["rm", "-rf", str(scratch)], check=True)
        call("mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", SUITE, scratch)
        scratch.rename(directory)
    return directory


# apt in the image works through the lists and archives of the cache, so that six images download things once
INSTALL = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs scratch "$WORK"
mkdir "$WORK/work" "$WORK/root" "$WORK/upper"
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
root=$WORK/root
for name in lists archives; do mkdir -p "$CACHE/apt/$name/partial"; done
mount --bind "$CACHE/apt/lists" "$root/var/lib/apt/lists"
mount --bind "$CACHE/apt/archives" "$root/var/cache/apt/archives"
mount -t tmpfs configuration "$root/etc/apt"
cp -r /etc/apt/. "$root/etc/apt/"
rm -f "$root"/etc/apt/apt.conf.d/docker-clean
for file in resolv.conf hosts; do touch "$WORK/$file"; cat "/etc/$file" >"$WORK/$file"; done
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
mount -t tmpfs scratch "$root/tmp"
cp "$WORK/resolv.conf" "$WORK/hosts" "$root/tmp/"
inside() { chroot "$root" env -i HOME=/root "$PATHS" DEBIAN_FRONTEND=noninteractive ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"; }
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
touch "$root/etc/resolv.conf"; mount --bind "$WORK/resolv.conf" "$root/etc/resolv.conf"
[ -e "$CACHE/apt/lists/updated" ] || { inside apt-get -q update; touch "$CACHE/apt/lists/updated"; }
inside apt-get -q install -y --no-install-recommends -o APT::Keep-Downloaded-Packages=true -o APT::Sandbox::User=root $PACKAGES
rm "$root/usr/sbin/policy-rc.d"
(cd "$FILES" && tar -c --owner=0 --group=0 --mtime=@0 .) | tar -x -C "$root" --no-overwrite-dir
inside sh -c "$RUN"
umount "$root/etc/resolv.conf"; rm -f "$root/etc/resolv.conf"
for name in tmp dev sys proc; do umount -l "$root/$name"; done
umount "$root/etc/apt" "$root/var/lib/apt/lists" "$root/var/cache/apt/archives"
rm -f "$root"/var/log/apt/*.log "$root"/var/log/dpkg.log "$root"/var/log/alternatives.log "$root"/var/cache/apt/*.bin
umount "$root"
exec python3 -B "$HERE/images.py" layer "$WORK/upper" "$LAYER"
"""


def write_layer(tree, path):
    """A layer of a directory; overlay's whiteouts and opaque directories become those of the image format."""

    def entry(archive, item, name):
        information = archive.gettarinfo(str(item), name)
        information.uname = information.gname = ""
        information.mtime = int(information.mtime)
        if information.ischr() and (information.devmajor, information.devminor) == (0, 0):
            head, _, tail = name.rpartition("/")
            mark(archive, f"{head}/.wh.{tail}".lstrip("/"))
            return
        for attribute in os.listxattr(item, follow_symlinks=False):
            value = os.getxattr(item, attribute, follow_symlinks=False)
            if attribute.startswith("trusted.overlay."):
                continue
            information.pax_headers[f"SCHILY.xattr.{attribute}"] = value.decode("utf-8", "surrogateescape")
        if information.isreg():
            with open(item, "rb") as content:
                archive.addfile(information, content)
        elif not information.issock() if hasattr(information, "issock") else True:
            archive.addfile(information)
        if information.isdir() and is_opaque(item):
            mark(archive, f"{name}/.wh..wh..opq")

    def mark(archive, name):
        archive.addfile(tarfile.TarInfo(name))

    def is_opaque(item):
        try:
            return os.getxattr(item, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
        except OSError:
            return False

    def walk(archive, directory, above):
        for item in sorted(directory.iterdir()):
            name = f"{above}/{item.name}".lstrip("/")
            if name in ("dev", "proc", "sys"):
                continue
            entry(archive, item, name)
            if item.is_dir() and not item.is_symlink():
                walk(archive, item, name)

    plain = hashlib.sha256()
    with open(path, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") as compressed:
        tee = Tee(compressed, plain)
        with tarfile.open(fileobj=tee, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            walk(archive, pathlib.Path(tree), "")
    pathlib.Path(f"{path}.diff").write_text(f"sha256:{plain.hexdigest()}")


class Tee:
    def __init__(self, file, digest):
        self.file, self.digest = file, digest

    def write(self, data):
        self.digest.update(data)
        return self.file.write(data)


def layout(name):
    """The OCI layout of the full image `name`, made if it is not there."""
    image = IMAGES[name]
    description = repr(image) + INSTALL + "".join(digest_of(HERE / "apps" / source) for source, _ in image.files.values() if source != "cpp/service")
    description += digest_of(HERE / "apps/cpp/service.cc")
    directory = CACHE / f"full-{name}"
    stamp = directory / "description"
    wanted = hashlib.sha256(description.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    layers = [base_layer(), app_layer(name, image)]
    write_layout(directory, name, image, layers)
    stamp.write_text(wanted)
    return directory


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def base_layer():
    path = CACHE / f"base-{SUITE}.tar.gz"
    if not pathlib.Path(f"{path}.diff").exists():
        write_layer(base(), path)
    return path


def app_layer(name, image):
    work, files = CACHE / f"work-{name}", CACHE / f"files-{name}"
    for directory in (work, files):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    for place, (source, mode) in image.files.items():
        target = files / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(compiled() if source == "cpp/service" else HERE / "apps" / source, target)
        target.chmod(mode)
    layer = CACHE / f"layer-{name}.tar.gz"
    environment = {
        **os.environ,
        "WORK": str(work), "BASE": str(base()), "CACHE": str(CACHE), "FILES": str(files), "LAYER": str(layer), "HERE": str(HERE),
        "PACKAGES": " ".join(image.packages), "RUN": image.run, "PATHS": PATH,
    }
    call("unshare", "--mount", "sh", "-c", INSTALL, env=environment, stdout=open(CACHE / f"install-{name}.log", "w"), stderr=subprocess.STDOUT)
    for directory in (work, files):
        shutil.rmtree(directory)
    return layer


def compiled():
    source, binary = HERE / "apps/cpp/service.cc", CACHE / "service"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        call("g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-s", "-o", binary, source, "-lcrypto", "-lz")
    return binary


def write_layout(directory, name, image, layers):
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, media_type, **more):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def document(content, media_type, **more):
        return put(json.dumps(content).encode(), f"application/vnd.oci.image.{media_type}.v1+json", **more)

    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Cmd": list(image.command),
            "Env": [PATH, "LANG=C.UTF-8"],
            "ExposedPorts": {f"{image.port}/tcp": {}},
            "User": image.user,
            "Labels": {"org.opencontainers.image.title": name},
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", *image.probe], "Interval": 1_000_000_000},
        },
        "rootfs": {"type": "layers", "diff_ids": [pathlib.Path(f"{layer}.diff").read_text() for layer in layers]},
        "history": [{"created_by": "mmdebstrap"}, {"created_by": f"install {' '.join(image.packages)}"}],
    }
    stored = [put(layer.read_bytes(), "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": document(configuration, "config"), "layers": stored}
    named = document(manifest, "manifest", annotations={"org.opencontainers.image.ref.name": name})
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


if __name__ == "__main__":
    import sys

    if sys.argv[1] == "layer":
        write_layer(*sys.argv[2:])
    else:
        print(layout(sys.argv[1]))
