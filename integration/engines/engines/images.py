"""Images, built from local files: small ones on busybox, a whole Debian, and apps alone (thin) or on that Debian (whole).

Every image is localhost/NAME:1. They are written as two archives in the format of `docker save`, which podman, docker and containerd load:
`base.tar` for all runtimes, then `thin.tar` for ours and `whole.tar` for the yardstick.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import tarfile

REPOSITORY = "localhost"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n"
APPLETS = """[ awk cat chmod chown cp cut date dd df dmesg echo egrep env false find free getopt grep head hostname httpd id ifconfig
ip kill ln ls mkdir mknod mkfifo mount mv nc netstat nslookup od ping printf ps pwd readlink rm rmdir sed seq setsid sh sha256sum
sleep sort stat stty sync sysctl tail tar tee test touch tr true truncate tty ulimit umount uname uniq wc wget which whoami xargs
yes""".split()

SCRIPT = """#!/bin/sh
# a service of its own: counts its starts in a file, then waits
set -e
starts=$(cat /app/starts 2>/dev/null | wc -l)
date +%s >>/app/starts
printf 'start %s\\n' "$((starts + 1))" | sed 's/^/app: /'
trap 'exit 0' TERM
if [ "${1:-}" = stay ]; then while :; do sleep 1 & wait $!; done; fi
"""
PYTHON = """#!/usr/bin/env python3
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"hello": "from python"}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

if sys.argv[1:] == ["serve"]:
    http.server.HTTPServer(("", 8080), Handler).serve_forever()
print(json.dumps({"hello": "from python"}))
"""
NGINX = """daemon off;
error_log /dev/stderr;
pid /run/nginx.pid;
events {}
http {
  access_log off;
  server { listen 8080; root /app/html; }
}
"""
REDIS = """port 6379
save ""
dir /app
"""


@dataclasses.dataclass(frozen=True)
class App:
    """An app with its config and data. `files`: place to text, or to a path in the Debian or below programs/ whose bytes are
    taken. The entry point is the first of `command`."""

    command: tuple
    files: dict
    environment: tuple = (PATH,)
    labels: dict = dataclasses.field(default_factory=dict)
    user: str = ""
    # layers beside its own, of one file each
    more: int = 0


@dataclasses.dataclass(frozen=True)
class From:
    """The bytes of a file of the Debian (an absolute path) or of a program that setup has built (a name)."""

    path: str


# a library recipe for more makes more apps possible: a few lines each
APPS = {
    "curl": App(("/usr/bin/curl",), {"usr/bin/curl": From("/usr/bin/curl")}),
    "python": App(("/app/main.py",), {"app/main.py": PYTHON}),
    "go": App(("/app/greeter",), {"app/greeter": From("greeter")}),
    "script": App(("/app/run.sh",), {"app/run.sh": SCRIPT}),
    # so many that engines name the lower directories by relative paths
    "layers": App(("/app/run.sh",), {"app/run.sh": SCRIPT}, more=60),
    "nginx": App(("/usr/sbin/nginx", "-c", "/app/nginx.conf"), {"app/nginx.conf": NGINX, "app/html/index.html": "hello from nginx\n"}),
    "redis": App(("/usr/bin/redis-server", "/app/redis.conf"), {"app/redis.conf": REDIS}),
}


def name(app, thin):
    if app not in APPS:
        raise KeyError(f"no app {app!r}")
    return f"{REPOSITORY}/{'thin' if thin else 'whole'}-{app}:1"


def base(image):
    """The full name of an image of `base.tar`: busybox, layered, pause, pause-without-env, debian."""
    return f"{REPOSITORY}/{image}:1"


class Layer:
    """A layer as a tar file, reproducible: time 0, entries in order."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)
        self.there = set()

    def directory(self, path, mode=0o755, owner=0):
        for parent in reversed(pathlib.PurePosixPath(path).parents):
            if str(parent) != "." and str(parent) not in self.there:
                self.directory(str(parent))
        if path in self.there:
            return
        self.there.add(path)
        self.add(path, tarfile.DIRTYPE, mode, owner)

    def file(self, path, content, mode=0o644, owner=0):
        self.directory(str(pathlib.PurePosixPath(path).parent))
        self.add(path, tarfile.REGTYPE, mode, owner, content.encode() if isinstance(content, str) else content)

    def link(self, path, target):
        self.directory(str(pathlib.PurePosixPath(path).parent))
        self.add(path, tarfile.SYMTYPE, 0o777, 0, target=target)

    def add(self, path, kind, mode, owner, content=b"", target=""):
        if path == ".":
            return
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.uid, entry.gid, entry.size, entry.linkname = kind, mode, owner, owner, len(content), target
        self.tar.addfile(entry, io.BytesIO(content))

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


class Archive:
    """An archive of images in the format of `docker save`."""

    def __init__(self, path):
        self.path = path
        self.tar = tarfile.open(path, "w")
        self.manifest = []
        self.layers = {}

    def layer(self, content):
        """Adds a layer, once; its digest. `content` is bytes, or the path of a tar file."""
        if isinstance(content, pathlib.Path):
            digest = hashlib.file_digest(content.open("rb"), "sha256").hexdigest()
        else:
            digest = hashlib.sha256(content).hexdigest()
        if digest not in self.layers:
            self.layers[digest] = f"{digest}/layer.tar"
            if isinstance(content, pathlib.Path):
                self.tar.add(content, self.layers[digest])
            else:
                self.add(self.layers[digest], content)
        return digest

    def image(self, name, layers, **config):
        """Adds an image; `config` as in the OCI image specification."""
        digests = [self.layer(layer) for layer in layers]
        document = json.dumps({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "integration/engines"} for _ in digests],
        }).encode()
        file = f"{hashlib.sha256(document).hexdigest()}.json"
        self.add(file, document)
        self.manifest.append({"Config": file, "RepoTags": [name], "Layers": [self.layers[digest] for digest in digests]})

    def add(self, name, content):
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self.tar.addfile(entry, io.BytesIO(content))

    def close(self):
        self.add("manifest.json", json.dumps(self.manifest).encode())
        self.tar.close()


def busybox():
    layer = Layer()
    layer.file("bin/busybox", pathlib.Path("/bin/busybox").read_bytes(), 0o755)
    for applet in APPLETS:
        layer.link(f"bin/{applet}", "busybox")
    layer.file("etc/passwd", PASSWD)
    layer.file("etc/group", GROUP)
    for directory, mode, owner in (("root", 0o700, 0), ("home/app", 0o755, 1000), ("tmp", 0o1777, 0), ("var/tmp", 0o1777, 0)):
        layer.directory(directory, mode, owner)
    for directory in ("dev", "proc", "sys", "run", "usr/bin"):
        layer.directory(directory)
    return layer.bytes()


def base_archive(cache, path):
    archive = Archive(path)
    ground = busybox()
    shell = {"Env": [PATH], "Cmd": ["/bin/sh"]}
    archive.image(base("busybox"), [ground], **shell)
    # many layers: engines name the lower directories of so long a list by relative paths
    layers = [ground]
    for number in range(40):
        layer = Layer()
        layer.file(f"layers/{number}", f"{number}\n")
        layer.file("layers/last", f"{number}\n")
        layers.append(layer.bytes())
    archive.image(base("layered"), layers, **shell)
    pause = Layer()
    pause.file("pause", (cache / "programs/pause").read_bytes(), 0o755)
    pause = pause.bytes()
    archive.image(base("pause"), [pause], Env=[PATH], Entrypoint=["/pause"])
    archive.image(base("pause-without-env"), [pause], Entrypoint=["/pause"])
    archive.image(base("debian"), [cache / "debian.tar"], Env=[PATH], Cmd=["/bin/bash"])
    archive.close()


def app_layer(app, cache, debian):
    layer = Layer()
    for place, content in app.files.items():
        if isinstance(content, From) and content.path.startswith("/"):
            content = debian.extractfile(f".{content.path}").read()
        elif isinstance(content, From):
            content = (cache / "programs" / content.path).read_bytes()
        program = place == app.command[0].lstrip("/")
        layer.file(place, content, 0o755 if program else 0o644)
    return layer.bytes()


def file_layer(place):
    layer = Layer()
    layer.file(place, "x")
    return layer.bytes()


def app_archive(cache, path, thin):
    archive = Archive(path)
    with tarfile.open(cache / "debian.tar") as debian:
        for app_name, app in APPS.items():
            layers = ([] if thin else [cache / "debian.tar"]) + [app_layer(app, cache, debian)]
            layers += [file_layer(f"app/many/{number}") for number in range(app.more)]
            config = {"Env": list(app.environment), "Entrypoint": list(app.command), "Labels": app.labels}
            if app.user:
                config["User"] = app.user
            archive.image(name(app_name, thin), layers, **config)
    archive.close()


def build(cache):
    """Writes the archives that are missing or older than what they are made of."""
    sources = [pathlib.Path(__file__), cache / "debian.tar", *(cache / "programs").iterdir()]
    newest = max(source.stat().st_mtime for source in sources)
    for file, make in (
        ("base.tar", base_archive),
        ("thin.tar", lambda cache, path: app_archive(cache, path, thin=True)),
        ("whole.tar", lambda cache, path: app_archive(cache, path, thin=False)),
    ):
        path = cache / file
        if not path.exists() or path.stat().st_mtime < newest:
            make(cache, path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)


def archives(cache, runtime):
    """What an engine loads to have every image that its runtime is tried with."""
    return [cache / "base.tar", cache / ("thin.tar" if runtime.ours else "whole.tar")]
