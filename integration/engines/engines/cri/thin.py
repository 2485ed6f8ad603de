"""Pods of images that hold the app alone."""

from ..commands import expect, expect_in, expect_match, until
from ..docker.network import fetch
from .engine import cri


@cri.check(thin=True)
def curl_says_what_it_is(cri):
    expect_in("libcurl/", cri.run(image=cri.image("curl"), args=["--version"]), "version")


@cri.check(thin=True)
def curl_asks_a_python_app_in_another_pod(cri):
    server = cri.pod()
    server.start(image=cri.image("python"), args=["serve"])
    pod = cri.pod()

    def asked():
        container = pod.start(image=cri.image("curl"), args=["--silent", f"http://{server.address()}:8080/"])
        return container.end()["exit_code"] == 0 and container.log()

    expect(until(asked, "the answer"), '{"hello": "from python"}', "the answer")


@cri.check(thin=True)
def containers_of_a_thin_pod_reach_each_other(cri):
    pod = cri.pod()
    server = pod.start(image=cri.image("go"), args=["serve"])

    def asked():
        container = pod.start(image=cri.image("curl"), args=["--silent", "http://127.0.0.1:8080/"])
        return container.end()["exit_code"] == 0 and container.log()

    expect(until(asked, "the answer"), "hello from go\n", "the answer")
    expect(server.status()["state"], "CONTAINER_RUNNING", "state")


@cri.check(thin=True)
def nginx_and_redis_of_a_pod_answer(cri):
    pod = cri.pod()
    pod.start(image=cri.image("nginx"))
    redis = pod.start(image=cri.image("redis"))
    until(lambda: fetch(f"{pod.address()}:8080") == "hello from nginx\n", "the page")
    until(lambda: redis.ask("ExecSync", cmd=["redis-cli", "ping"], timeout=5)["exit_code"] == 0, "the answer")


@cri.check(thin=True)
def a_go_program_prints(cri):
    expect(cri.run(image=cri.image("go")), "hello from go, libc true", "log")


@cri.check(thin=True)
def a_shell_script_and_its_next_attempt(cri):
    pod = cri.pod()
    for attempt in (0, 1):
        container = pod.start(image=cri.image("script"), metadata={"name": "app", "attempt": attempt})
        container.end()
        expect(container.log(), "app: start 1\n", "every attempt begins with the image")


@cri.check(thin=True)
def exec_of_a_shell(cri):
    container = cri.pod().start(image=cri.image("python"), args=["serve"])
    expect(container.exec("sh", "-c", "echo $((6 * 7)); ls /app; exit 3", status=3), "42\nmain.py\n", "output")


@cri.check(thin=True)
def a_thin_container_with_a_security_context(cri):
    context = {"run_as_user": {"value": 1000}, "readonly_rootfs": True, "no_new_privs": True, "capabilities": {"drop_capabilities": ["ALL"]}, "seccomp": {"profile_type": "RuntimeDefault"}}
    expect(cri.run(image=cri.image("python"), linux={"security_context": context, "resources": {"memory_limit_in_bytes": 128 << 20}}), '{"hello": "from python"}', "log")


@cri.check(thin=True)
def names_and_volumes_of_a_thin_pod(cri):
    pod = cri.pod(hostname="thin", dns_config={"servers": ["10.9.9.9"]})
    container = pod.start(image=cri.image("script"), args=["stay"], mounts=[{"container_path": "/data", "host_path": str(cri.scratch)}])
    said = container.exec("sh", "-c", "cat /etc/hostname /etc/resolv.conf; echo kept >/data/file")
    expect_match(r"^thin\nnameserver 10.9.9.9\n", said, "files")
    expect((cri.scratch / "file").read_text(), "kept\n", "the volume")


@cri.check(thin=True)
def without_composition_a_thin_container_is_refused(cri):
    pod = cri.pod()
    container_config = {"annotations": {"dev.fragment.compose": "off"}}
    container = pod.create(image=cri.image("script"), **container_config)
    if cri.runtime.ours:
        expect_match("no such file or directory|not found", cri.refused("StartContainer", container_id=container.id), "error")
    else:
        container.start()
        expect(container.end()["exit_code"], 0, "exit status")


@cri.check(thin=True)
def the_writable_layer_of_a_thin_container_is_counted(cri):
    container = cri.pod().start("sh", "-c", "head -c 3000000 /dev/urandom >/written; sleep 1000", image=cri.image("script"))
    until(lambda: 3_000_000 <= int(container.ask("ContainerStats")["stats"]["writable_layer"]["used_bytes"]["value"]) < 3_500_000, "what was written", limit=30)
