"""Images that hold the app alone, and what docker sees of their containers."""

import json
import tarfile

from ..commands import expect, expect_in, until
from .engine import docker
from .network import fetch


@docker.check(thin=True)
def curl_says_what_it_is(docker):
    expect_in("libcurl/", docker.run(docker.image("curl"), "--version").ok().output, "version")


@docker.check(thin=True)
def curl_asks_a_server(docker):
    docker.ok("network", "create", docker.unique)
    docker.begin("--network", docker.unique, "--name", "server", docker.image("python"), "serve")
    ask = ("run", "--rm", "--network", docker.unique, docker.image("curl"), "--silent", "http://server:8080/")
    until(lambda: docker.call(*ask).output == '{"hello": "from python"}', "the answer")


@docker.check(thin=True)
def a_python_app_prints(docker):
    docker.run(docker.image("python")).ok().prints('{"hello": "from python"}')


@docker.check(thin=True)
def a_python_app_answers_on_a_published_port(docker):
    docker.begin("--publish", "127.0.0.1:8095:8080", docker.image("python"), "serve")
    until(lambda: fetch("127.0.0.1:8095") == '{"hello": "from python"}', "the answer")


@docker.check(thin=True)
def a_go_program_prints(docker):
    docker.run(docker.image("go")).ok().prints("hello from go, libc true")


@docker.check(thin=True)
def a_go_program_answers(docker):
    docker.begin("--publish", "127.0.0.1:8096:8080", docker.image("go"), "serve")
    until(lambda: fetch("127.0.0.1:8096") == "hello from go\n", "the answer")


@docker.check(thin=True)
def nginx_serves_a_published_port(docker):
    container = docker.begin("--publish", "127.0.0.1:8098:8080", docker.image("nginx"))
    until(lambda: fetch("127.0.0.1:8098") == "hello from nginx\n", "the page")
    docker.call("exec", "--user", "www-data", container, "id", "-un").ok().prints("www-data")


@docker.check(thin=True)
def redis_answers_and_keeps_what_it_saved(docker):
    container = docker.begin(docker.image("redis"))
    until(lambda: docker.call("exec", container, "redis-cli", "ping").output == "PONG\n", "the answer")
    docker.call("exec", container, "redis-cli", "set", "a", "b").ok().prints("OK")
    docker.call("exec", container, "redis-cli", "save").ok().prints("OK")
    docker.ok("restart", container)
    until(lambda: docker.call("exec", container, "redis-cli", "get", "a").output == "b\n", "what was saved")


@docker.check(thin=True)
def a_shell_script_runs(docker):
    docker.run(docker.image("script")).ok().prints("app: start 1")


@docker.check(thin=True)
def exec_of_a_shell(docker):
    container = docker.begin(docker.image("python"), "serve")
    docker.call("exec", "--interactive", container, "sh", input="echo $((6 * 7))\nls /app\nexit 3\n").exits(3).prints("42\nmain.py")
    with docker.terminal("exec", "--interactive", "--tty", container, "sh") as terminal:
        terminal.await_text("[#$] ")
        terminal.send("exit 4\n")
        expect(terminal.wait(), 4, "status")


@docker.check(thin=True)
def what_a_thin_container_writes_survives_a_restart(docker):
    container = docker.begin(docker.image("script"), "stay")
    until(lambda: docker.logs(container)[0] == "app: start 1\n", "the first start")
    docker.ok("restart", container)
    until(lambda: docker.logs(container)[0] == "app: start 1\napp: start 2\n", "the second start")
    docker.ok("stop", container)
    docker.ok("start", container)
    until(lambda: docker.logs(container)[0].endswith("app: start 3\n"), "the third start")


@docker.check(thin=True)
def commit_has_a_thin_containers_own_changes(docker):
    docker.call("run", "--name", docker.unique, docker.image("script")).ok()
    docker.ok("commit", docker.unique, docker.unique)
    docker.run(docker.unique).ok().prints("app: start 2")
    archive = docker.scratch / "image.tar"
    docker.ok("save", "--output", archive, docker.unique)
    with tarfile.open(archive) as image:
        layer = json.load(image.extractfile("manifest.json"))[0]["Layers"][-1]
        with tarfile.open(fileobj=image.extractfile(layer)) as tar:
            expect(sorted(tar.getnames()), ["app", "app/starts"], "what is in the new layer")


@docker.check(thin=True)
def diff_of_a_thin_container_has_what_it_wrote(docker):
    container = docker.begin(docker.image("script"), "stay")
    until(lambda: docker.logs(container)[0] == "app: start 1\n", "the start")
    docker.ok("exec", container, "sh", "-c", "mkdir /data; echo 1 >/data/one; rm /app/run.sh")
    changes = set(docker.ok("diff", container).splitlines())
    expect({"A /data", "A /data/one", "C /app", "A /app/starts", "D /app/run.sh"} - changes, set(), f"what is missing in {sorted(changes)[:50]}")


@docker.check(thin=True)
def cp_into_and_out_of_a_thin_container(docker):
    container = docker.begin(docker.image("python"), "serve")
    (docker.scratch / "given").write_text("given\n")
    docker.ok("cp", docker.scratch / "given", f"{container}:/app/given")
    docker.call("exec", container, "sh", "-c", "cat /app/given; echo more >>/app/given").ok().prints("given")
    docker.ok("cp", f"{container}:/app/given", docker.scratch / "back")
    expect((docker.scratch / "back").read_text(), "given\nmore\n", "outside")
    docker.ok("stop", "--time", "0", container)
    docker.ok("cp", f"{container}:/app/given", docker.scratch / "stopped")
    expect((docker.scratch / "stopped").read_text(), "given\nmore\n", "outside, of a stopped container")


@docker.check(thin=True)
def a_thin_image_is_built_on(docker):
    (docker.scratch / "Dockerfile").write_text(
        f"FROM {docker.image('script')}\nRUN [\"sh\", \"-c\", \"echo 'from a step' >/app/built\"]\nRUN [\"sh\", \"-c\", \"cat /app/built >/app/twice\"]\n")
    docker.call("build", "--no-cache", "--tag", docker.unique, docker.scratch, limit=120).ok()
    docker.run("--entrypoint", "cat", docker.unique, "/app/built", "/app/twice").ok().prints("from a step\nfrom a step")


@docker.check(thin=True)
def a_thin_container_with_volumes_and_read_only(docker):
    docker.run("--volume", f"{docker.unique}:/data", "--entrypoint", "sh", docker.image("script"), "-c", "echo kept >/data/file").ok()
    docker.run("--read-only", "--tmpfs", "/tmp", "--volume", f"{docker.unique}:/data:ro", "--entrypoint", "sh", docker.image("script"),
               "-c", "cat /data/file; touch /tmp/file && ! touch /app/file 2>/dev/null").ok().prints("kept")


@docker.check(thin=True)
def a_thin_container_as_a_user_with_limits(docker):
    docker.run("--user", "1000:1000", "--memory", "128m", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", docker.image("python")).ok().prints('{"hello": "from python"}')


@docker.check(thin=True)
def hosts_and_resolver_of_a_thin_container(docker):
    said = docker.run("--add-host", "other:10.1.2.3", "--dns", "10.9.9.9", "--entrypoint", "sh", docker.image("script"),
                      "-c", "cat /etc/hosts /etc/resolv.conf").ok().output
    expect_in("10.1.2.3\tother", said, "hosts")
    expect_in("nameserver 10.9.9.9", said, "resolver")


@docker.check(thin=True)
def a_thin_container_with_a_health_check(docker):
    container = docker.begin("--health-cmd", "test -e /app/starts", "--health-interval", "200ms", docker.image("script"), "stay")
    until(lambda: docker.inspect(container, "{{.State.Health.Status}}") == "healthy", "healthy")


@docker.check(thin=True)
def what_a_thin_image_cannot_run_is_127(docker):
    docker.run("--entrypoint", "nosuchcommand", docker.image("script")).exits(127).complains(r'exec: "nosuchcommand": executable file not found in \$PATH')
