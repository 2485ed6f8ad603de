"""Pods: their sandbox, network, names and namespaces."""

import json
import os
import urllib.request

from ..commands import expect, expect_in, expect_match, until
from ..containerd.engine import YARDSTICK
from .engine import BUSYBOX, cri

SERVE = ("sh", "-c", "mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www")


@cri.check
def the_service_says_what_it_is(cri):
    expect(cri.ask("Version")["runtime_api_version"], "v1", "version")
    expect(cri.ask("ImageStatus", image={"image": BUSYBOX})["image"]["repo_tags"], [BUSYBOX], "image")


@cri.check
def a_pause_image_without_environment_starts_a_pod(cri):
    pod = cri.pod(labels={"app": "one"}, annotations={"note": "two"})
    status = pod.status()["status"]
    expect((status["state"], status["labels"], status["annotations"]), ("SANDBOX_READY", {"app": "one"}, {"note": "two"}), "status")
    expect(cri.bundle(pod.id)["process"].get("env"), None, "the environment the runtime was given")


@cri.check
def the_runtime_is_chosen_for_each_pod(cri):
    binaries = {}
    for handler in ("tested", "yardstick"):
        pod = cri.pod(handler=handler)
        info = json.loads(pod.status(verbose=True)["info"]["info"])
        binaries[handler] = info["runtimeOptions"]["binary_name"]
        expect(pod.status()["status"]["runtime_handler"], handler, "handler")
    expect(binaries, {"tested": str(cri.runtime.path), "yardstick": YARDSTICK}, "binaries")
    expect_in("no runtime for", cri.refused("RunPodSandbox", config={"metadata": {"name": "a", "uid": "b", "namespace": "c"}}, runtime_handler="unknown"), "an unknown handler")


@cri.check
def a_pod_stops_and_goes(cri):
    pod = cri.pod()
    container = pod.start("sleep", "1000")
    pid = container.process()
    cri.ask("StopPodSandbox", pod_sandbox_id=pod.id)
    expect(pod.status()["status"]["state"], "SANDBOX_NOTREADY", "state")
    expect(container.status()["state"], "CONTAINER_EXITED", "the container's state")
    expect(os.path.exists(f"/proc/{pid}"), False, "its process is there")
    cri.ask("StopPodSandbox", pod_sandbox_id=pod.id)
    cri.ask("RemovePodSandbox", pod_sandbox_id=pod.id)
    cri.ask("RemovePodSandbox", pod_sandbox_id=pod.id)
    expect(cri.ask("ListPodSandbox")["items"], [], "pods")


@cri.check
def a_pod_answers_another(cri):
    server = cri.pod()
    server.start(*SERVE)
    client = cri.pod().start("sleep", "1000")
    until(lambda: client.ask("ExecSync", cmd=["wget", "-qO-", f"http://{server.address()}/"], timeout=5)["exit_code"] == 0, "the answer")
    expect(client.exec("wget", "-qO-", f"http://{server.address()}/"), "served\n", "the answer")


@cri.check
def a_port_of_the_host_answers(cri):
    pod = cri.pod(port_mappings=[{"container_port": 80, "host_port": 8097}])
    pod.start(*SERVE)

    def fetch():
        try:
            # not the loopback: what comes from there is not translated without another setting
            with urllib.request.urlopen("http://10.99.0.1:8097/", timeout=2) as answer:
                return answer.read()
        except OSError:
            return b""

    until(lambda: fetch() == b"served\n", "the answer")


@cri.check
def containers_of_a_pod_share_network_name_and_memory(cri):
    pod = cri.pod(hostname="shared")
    one, two = pod.start("sleep", "1000"), pod.start("sleep", "1000")
    for kind in ("net", "ipc", "uts"):
        expect(one.exec("readlink", f"/proc/self/ns/{kind}"), two.exec("readlink", f"/proc/self/ns/{kind}"), kind)
    expect(one.exec("readlink", "/proc/self/ns/mnt") != two.exec("readlink", "/proc/self/ns/mnt"), True, "mounts of their own")
    one.exec("sh", "-c", "echo through memory >/dev/shm/file")
    expect(two.exec("cat", "/dev/shm/file"), "through memory\n", "shared memory")
    expect(two.exec("hostname"), "shared\n", "name")


@cri.check
def process_numbers_of_the_pod(cri):
    shared = {"namespace_options": {"pid": "POD"}}
    pod = cri.pod(linux={"security_context": shared})
    pod.start("sleep", "4321", linux={"security_context": shared})
    other = pod.start("sleep", "1234", linux={"security_context": shared})
    seen = other.exec("ps")
    for line in ("sleep 4321", "sleep 1234", "/pause"):
        expect_in(line, seen, "processes")


@cri.check
def process_numbers_of_one_container(cri):
    options = {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}
    container = cri.pod(linux=options).start("sleep", "1000", linux=options)
    expect_match(r"\b1 root +\S+ +sleep 1000|\b1 root +sleep 1000", container.exec("ps"), "process 1")


@cri.check
def process_numbers_of_another_container(cri):
    own = {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}
    pod = cri.pod(linux=own)
    target = pod.start("sleep", "4321", linux=own)
    visitor = pod.start("sleep", "1000", linux={"security_context": {"namespace_options": {"pid": "TARGET", "target_id": target.id}}})
    expect_in("sleep 4321", visitor.exec("ps"), "processes")


@cri.check
def namespaces_of_the_node(cri):
    node = {"security_context": {"namespace_options": {"network": "NODE", "pid": "NODE", "ipc": "NODE"}}}
    pod = cri.pod(linux=node)
    container = pod.start("sleep", "1000", linux=node)
    for kind in ("net", "ipc", "pid"):
        expect(container.exec("readlink", f"/proc/self/ns/{kind}").strip(), os.readlink(f"/proc/self/ns/{kind}"), kind)


@cri.check
def a_pod_has_its_resolver(cri):
    pod = cri.pod(dns_config={"servers": ["10.9.9.9"], "searches": ["example"], "options": ["ndots:3"]})
    said = cri.run("cat", "/etc/resolv.conf", pod=pod)
    for line in ("nameserver 10.9.9.9", "search example", "options ndots:3"):
        expect_in(line, said, "resolv.conf")


@cri.check
def settings_of_the_kernel_are_the_pods(cri):
    pod = cri.pod(linux={"sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "12345"}})
    expect(cri.run("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax", pod=pod), "1\n12345", "settings")


@cri.check
def a_pod_whose_pause_is_killed_is_not_ready(cri):
    pod = cri.pod()
    pid = json.loads(pod.status(verbose=True)["info"]["info"])["pid"]
    os.kill(pid, 9)
    until(lambda: pod.status()["status"]["state"] == "SANDBOX_NOTREADY", "the state")


@cri.check
def pods_outlive_the_service(cri):
    pod = cri.pod()
    container = pod.start("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in container.log(), "the trap")
    cri.stop_daemon()
    cri.start_daemon()
    expect((pod.status()["status"]["state"], container.status()["state"]), ("SANDBOX_READY", "CONTAINER_RUNNING"), "states")
    expect(container.exec("echo", "here"), "here\n", "exec")
    container.ask("StopContainer", timeout=10)
    expect(container.status()["exit_code"], 5, "exit status")


@cri.check
def five_pods_at_once(cri):
    pods = [cri.pod() for _ in range(5)]
    containers = [pod.start("sh", "-c", f"sleep 0.5; exit {number}") for number, pod in enumerate(pods)]
    expect([container.end()["exit_code"] for container in containers], list(range(5)), "exit statuses")
    expect(len({pod.address() for pod in pods}), 5, "addresses")
