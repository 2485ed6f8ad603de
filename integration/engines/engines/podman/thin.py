"""Images that hold the app alone. The yardstick runs the same apps on a whole Debian, and both must do the same."""

import json
import tarfile

from ..commands import call, expect, expect_in, expect_match, until
from .engine import BUSYBOX, podman, rootless
from .network import SERVER, fetched


@rootless.check(thin=True)
@podman.check(thin=True)
def a_thin_curl_fetches_a_page(podman):
    podman.detached("--publish", "127.0.0.1:18082:8080", BUSYBOX, *SERVER)
    until(lambda: fetched("http://127.0.0.1:18082/") == "served\n", "the page")
    podman.run("--network=host", podman.image("curl"), "--silent", "http://127.0.0.1:18082/").ok().prints("served")


@rootless.check(thin=True)
@podman.check(thin=True)
def a_thin_python_app_prints(podman):
    podman.run(podman.image("python")).ok().prints('{"hello": "from python"}')


@podman.check(thin=True)
def a_thin_python_app_serves_a_published_port(podman):
    podman.detached("--publish", "127.0.0.1:18083:8080", podman.image("python"), "serve")
    until(lambda: fetched("http://127.0.0.1:18083/") == '{"hello": "from python"}', "the page")


@podman.check(thin=True)
def a_thin_go_program_looks_names_up(podman):
    podman.run(podman.image("go")).ok().prints("hello from go, libc true")


@podman.check(thin=True)
def a_thin_go_program_serves_a_published_port(podman):
    podman.detached("--publish", "127.0.0.1:18084:8080", podman.image("go"), "serve")
    until(lambda: fetched("http://127.0.0.1:18084/") == "hello from go\n", "the page")


@rootless.check(thin=True)
@podman.check(thin=True)
def a_thin_nginx_serves_a_published_port(podman):
    podman.detached("--publish", "127.0.0.1:18085:8080", podman.image("nginx"))
    until(lambda: fetched("http://127.0.0.1:18085/") == "hello from nginx\n", "the page")


@podman.check(thin=True)
def a_thin_redis_answers(podman):
    container = podman.detached(podman.image("redis"))
    until(lambda: podman.call("exec", container, "redis-cli", "ping").output == "PONG\n", "the answer")
    expect(podman.ok("exec", container, "redis-cli", "set", "a", "b"), "OK", "set")
    expect(podman.ok("exec", container, "redis-cli", "get", "a"), "b", "get")


@rootless.check(thin=True)
@podman.check(thin=True)
def a_thin_script_runs(podman):
    podman.run(podman.image("script")).ok().prints("app: start 1")


@podman.check(thin=True)
def exec_sh_works_in_a_thin_container(podman):
    container = podman.detached(podman.image("python"), "serve")
    expect(podman.ok("exec", container, "sh", "-c", "echo $((6*7)); test -d /proc/1 && ls /app"), "42\nmain.py", "exec sh")
    with podman.terminal("exec", "--interactive", "--tty", container, "sh") as terminal:
        terminal.await_text("[#$] ")
        terminal.send("tty\n")
        terminal.await_text("/dev/pts/0")
        terminal.send("exit 5\n")
        expect(terminal.wait(), 5, "its status")


@podman.check(thin=True)
def users_of_a_thin_container_have_names(podman):
    container = podman.detached(podman.image("nginx"))
    expect(podman.ok("exec", container, "id", "-un"), "root", "the user")
    expect(podman.ok("exec", "--user", "www-data", container, "id", "-un"), "www-data", "a user that nginx brings")
    expect(podman.ok("exec", "--user", "1234", container, "id", "-u"), "1234", "a user without a name")


@podman.check(thin=True)
def a_thin_app_runs_as_another_user(podman):
    podman.run("--user", "1234:1234", podman.image("python")).ok().prints('{"hello": "from python"}')


@podman.check(thin=True)
def the_engines_files_are_above_the_components(podman):
    saw = podman.run("--hostname", "thin", "--dns=10.9.8.7", "--entrypoint", "/bin/sh", podman.image("script"), "-c", "cat /etc/hostname /etc/resolv.conf; grep -c thin /etc/hosts").ok().output
    expect_match(r"^thin\s*(search .*\s)?nameserver 10\.9\.8\.7\n1\n$", saw, "hostname, resolv.conf and hosts")


@podman.check(thin=True)
def a_thin_app_with_a_read_only_root(podman):
    podman.run("--read-only", podman.image("python")).ok().prints('{"hello": "from python"}')


@podman.check(thin=True)
def a_thin_app_with_a_volume_and_a_tmpfs(podman):
    words = ["--volume", f"{podman.unique}:/app/data", "--tmpfs", "/scratch", "--entrypoint", "/bin/sh", podman.image("script"), "-c"]
    podman.run(*words, "echo kept >/app/data/file; echo x >/scratch/x").ok()
    podman.run(*words, "cat /app/data/file; ls /scratch").ok().prints("kept")


@rootless.check(thin=True)
@podman.check(thin=True)
def writes_survive_stop_and_start(podman):
    container = podman.detached(podman.image("script"), "stay")
    for count in (1, 2, 3):
        until(lambda: f"app: start {count}\n" in podman.logs(container), f"start {count}")
        podman.ok("stop", "--time=5", container)
        podman.ok("start", container)


@podman.check(thin=True)
def what_was_removed_and_changed_stays_so(podman):
    words = "if test -e /app/mark; then test -e /usr/bin/sed || echo gone; tail -n1 /etc/passwd; else echo x >/app/mark; rm /usr/bin/sed; echo changed >>/etc/passwd; fi"
    container = podman.ok("create", "--entrypoint", "/bin/sh", podman.image("script"), "-c", words)
    podman.call("start", "--attach", container).ok().prints("")
    podman.call("start", "--attach", container).ok().prints("gone\nchanged")


def changed(podman):
    """The name of a stopped container of a thin image that has added and changed files."""
    script = "echo new >/app/new; echo '# changed' >>/app/run.sh; mkdir -p /data/deep; ln -s new /app/link"
    podman.ok("run", "--name", podman.unique, "--entrypoint", "/bin/sh", podman.image("script"), "-c", script)
    return podman.unique


def differences(podman, container):
    """What podman diff tells, without /etc itself: podman makes the places of its own files there."""
    return set(podman.ok("diff", container).splitlines()) - {"C /etc", "A /etc"}


CHANGES = {"C /app", "A /app/new", "A /app/link", "C /app/run.sh", "A /data", "A /data/deep"}


@rootless.check(thin=True)
@podman.check(thin=True)
def diff_tells_a_thin_containers_own_changes(podman):
    expect(differences(podman, changed(podman)), CHANGES, "podman diff")


@podman.check(thin=True)
def diff_of_a_running_thin_container(podman):
    container = podman.detached(podman.image("script"), "stay")
    until(lambda: "start 1" in podman.logs(container), "it runs")
    expect(differences(podman, container), {"C /app", "A /app/starts"}, "podman diff")


@rootless.check(thin=True)
@podman.check(thin=True)
def commit_keeps_a_thin_containers_changes(podman):
    image = f"localhost/{podman.unique}"
    podman.ok("commit", "--quiet", changed(podman), image)
    try:
        podman.run("--entrypoint", "/bin/sh", image, "-c", "cat /app/new; tail -n1 /app/run.sh; readlink /app/link; ls /data").ok().prints("new\n# changed\nnew\ndeep")
        podman.run("--entrypoint", "/app/run.sh", image).ok().prints("app: start 1")
    finally:
        podman.ok("rmi", image)


@podman.check(thin=True)
def commit_has_nothing_else(podman):
    image = f"localhost/{podman.unique}"
    podman.ok("commit", "--quiet", changed(podman), image)
    try:
        podman.ok("save", "--format=docker-archive", "--output", podman.scratch / "image.tar", image)
        names = last_layer(podman.scratch / "image.tar")
    finally:
        podman.ok("rmi", image)
    # podman keeps /etc/hosts and their like out, and the places it mounts them on in
    own = {name for name in names if name.startswith(("app/", "data", "usr", "lib", "bin", "sbin"))}
    expect(own, {"app/new", "app/link", "app/run.sh", "data", "data/deep"}, "what the layer holds")


def last_layer(archive):
    """The names in the last layer of an image that `docker save` would have written."""
    with tarfile.open(archive) as saved:
        layers = json.load(saved.extractfile("manifest.json"))[0]["Layers"]
        with tarfile.open(fileobj=saved.extractfile(layers[-1])) as layer:
            return {entry.name.rstrip("/") for entry in layer} - {"app"}


@podman.check(thin=True)
def files_are_copied_in_and_out_of_a_thin_container(podman):
    (podman.scratch / "file").write_text("in\n")
    container = podman.detached(podman.image("script"), "stay")
    until(lambda: "start 1" in podman.logs(container), "it runs")
    podman.ok("cp", podman.scratch / "file", f"{container}:/app/in")
    expect(podman.ok("exec", container, "cat", "/app/in"), "in", "what was copied in")
    podman.ok("cp", f"{container}:/app/starts", podman.scratch / "starts")
    expect_match(r"^\d+\n$", (podman.scratch / "starts").read_text(), "what was copied out")
    podman.ok("stop", "--time=5", container)
    podman.ok("cp", podman.scratch / "file", f"{container}:/app/later")
    podman.ok("start", container)
    expect(podman.ok("exec", container, "cat", "/app/later"), "in", "what was copied in while it was stopped")


@podman.check(thin=True)
def export_of_a_thin_container_has_its_app(podman):
    archive = podman.scratch / "archive.tar"
    podman.ok("export", "--output", archive, changed(podman))
    with tarfile.open(archive) as exported:
        expect({"app/new", "app/run.sh", "data/deep"} - set(exported.getnames()), set(), "files that are missing")


@podman.check(thin=True)
def thin_containers_in_a_pod(podman):
    podman.ok("pod", "create", "--name", podman.unique, "--infra-image", "localhost/pause-without-env:1")
    podman.detached("--pod", podman.unique, podman.image("go"), "serve")
    words = ["run", "--rm", "--pod", podman.unique, podman.image("curl"), "--silent", "http://127.0.0.1:8080/"]
    until(lambda: podman.call(*words).output == "hello from go\n", "the page")


@podman.check(thin=True)
def a_start_that_fails_leaves_the_engines_mount(podman):
    container = podman.ok("create", "--entrypoint", "/no/such/program", podman.image("script"))
    podman.call("start", container).exits(125)
    podman.ok("cp", f"{container}:/app/run.sh", podman.scratch / "run.sh")
    call(["grep", "-q", "a service of its own", podman.scratch / "run.sh"]).ok()
