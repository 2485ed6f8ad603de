"""Networks and pods."""

import json
import urllib.request

from ..commands import call, expect, expect_in, expect_match, until
from ..images import base
from .engine import BUSYBOX, STAY, podman, rootless

SERVER = ("sh", "-c", "mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 8080 -h /www")


def fetched(url):
    """The page, or nothing while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@rootless.check
@podman.check
def without_a_network_there_is_loopback_alone(podman):
    podman.run("--network=none", BUSYBOX, "sh", "-c", "ls /sys/class/net; ip link show lo | grep -o LOOPBACK,UP").ok().prints("lo\nLOOPBACK,UP")


@podman.check
def on_the_hosts_network(podman):
    call(["ip", "link", "add", "only-here", "type", "veth", "peer", "name", "only-there"]).ok()
    try:
        podman.run("--network=host", BUSYBOX, "sh", "-c", "ip link | grep -o only-here | head -n1").ok().prints("only-here")
    finally:
        call(["ip", "link", "del", "only-here"]).ok()


@podman.check
def on_a_bridge_it_has_an_address(podman):
    container = podman.detached(BUSYBOX, *SERVER)
    address = podman.inspect(container, "{{.NetworkSettings.IPAddress}}")
    expect_in(address, podman.ok("exec", container, "ip", "-4", "addr", "show", "eth0"), "its address inside")
    until(lambda: fetched(f"http://{address}:8080/") == "served\n", "the page")


@rootless.check
@podman.check
def a_port_is_published(podman):
    podman.detached("--publish", "127.0.0.1:18080:8080", BUSYBOX, *SERVER)
    until(lambda: fetched("http://127.0.0.1:18080/") == "served\n", "the page")


@podman.check
def two_containers_meet_on_a_network(podman):
    podman.ok("network", "create", podman.unique)
    server = podman.detached("--network", podman.unique, BUSYBOX, *SERVER)
    address = podman.inspect(server, f'{{{{(index .NetworkSettings.Networks "{podman.unique}").IPAddress}}}}')
    words = ["run", "--rm", "--network", podman.unique, BUSYBOX, "wget", "-q", "-O-", f"http://{address}:8080/"]
    until(lambda: podman.call(*words).output == "served\n", "the page")


@podman.check
def a_network_is_joined_and_left_while_it_runs(podman):
    podman.ok("network", "create", podman.unique)
    container = podman.detached("--network", podman.unique, BUSYBOX, *STAY)
    podman.ok("network", "connect", "podman", container)
    expect(podman.ok("exec", container, "ls", "/sys/class/net").split(), ["eth0", "eth1", "lo"], "interfaces")
    podman.ok("network", "disconnect", "podman", container)
    expect(podman.ok("exec", container, "ls", "/sys/class/net").split(), ["eth0", "lo"], "interfaces")


@podman.check
def names_are_in_hosts_and_resolv_conf(podman):
    words = ["--add-host", "somewhere:10.1.2.3", "--dns", "10.9.8.7", "--dns-search", "example.org", "--hostname", "here", BUSYBOX]
    saw = podman.run(*words, "sh", "-c", "cat /etc/hosts; cat /etc/resolv.conf").ok().output
    expect_match(r"10\.1\.2\.3\s+somewhere", saw, "/etc/hosts")
    expect_match(r"10\.88\.\S+\s+here", saw, "/etc/hosts")
    expect_in("nameserver 10.9.8.7", saw, "/etc/resolv.conf")
    expect_in("search example.org", saw, "/etc/resolv.conf")


@podman.check
def an_address_of_ones_own(podman):
    podman.run("--ip=10.88.77.66", "--mac-address=02:00:00:00:77:66", BUSYBOX, "sh", "-c", "ip addr show eth0 | grep -o -e 10.88.77.66 -e 02:00:00:00:77:66").ok().prints("02:00:00:00:77:66\n10.88.77.66")


@rootless.check
@podman.check
def a_pod_shares_its_network(podman):
    podman.ok("pod", "create", "--name", podman.unique, "--hostname", "pod")
    podman.detached("--pod", podman.unique, BUSYBOX, *SERVER)
    client = podman.detached("--pod", podman.unique, BUSYBOX, *STAY)
    until(lambda: podman.call("exec", client, "wget", "-q", "-O-", "http://127.0.0.1:8080/").output == "served\n", "the page")
    expect(podman.ok("exec", client, "hostname"), "pod", "its host name")
    expect(len(podman.ok("ps", "--quiet", "--filter", f"pod={podman.unique}").split()), 3, "containers that run")


@rootless.check
@podman.check
def a_pod_is_stopped_started_and_removed(podman):
    podman.ok("pod", "create", "--name", podman.unique)
    for _ in range(2):
        podman.detached("--pod", podman.unique, BUSYBOX, *STAY)
    podman.ok("pod", "stop", "--time=5", podman.unique)
    expect(podman.ok("pod", "inspect", "--format", "{{.State}}", podman.unique), "Exited", "its state")
    podman.ok("pod", "start", podman.unique)
    expect(podman.ok("pod", "inspect", "--format", "{{.State}}", podman.unique), "Running", "its state")
    podman.ok("pod", "kill", podman.unique)
    podman.ok("pod", "rm", "--force", "--time=0", podman.unique)
    expect(podman.ok("ps", "--all", "--quiet"), "", "containers that remain")


@podman.check
def a_pod_shares_processes_where_asked(podman):
    podman.ok("pod", "create", "--name", podman.unique, "--share=pid,net,ipc,uts")
    podman.detached("--pod", podman.unique, BUSYBOX, "sleep", "1234")
    other = podman.detached("--pod", podman.unique, BUSYBOX, *STAY)
    saw = podman.ok("exec", other, "ps")
    for part in ("sleep 1234", "/pause"):
        expect_in(part, saw, "processes of the pod")


@rootless.check
@podman.check
def a_pause_image_without_an_environment_starts_a_pod(podman):
    podman.ok("pod", "create", "--name", podman.unique, "--infra-image", base("pause-without-env"))
    podman.detached("--pod", podman.unique, BUSYBOX, *STAY)
    expect(podman.ok("pod", "inspect", "--format", "{{.State}}", podman.unique), "Running", "its state")


@podman.check
def a_pod_publishes_a_port(podman):
    podman.ok("pod", "create", "--name", podman.unique, "--publish", "127.0.0.1:18081:8080")
    podman.detached("--pod", podman.unique, BUSYBOX, *SERVER)
    until(lambda: fetched("http://127.0.0.1:18081/") == "served\n", "the page")


@podman.check
def a_pod_is_paused(podman):
    podman.ok("pod", "create", "--name", podman.unique)
    container = podman.detached("--pod", podman.unique, BUSYBOX, *STAY)
    podman.ok("pod", "pause", podman.unique)
    expect(podman.inspect(container, "{{.State.Status}}"), "paused", "its state")
    podman.ok("pod", "unpause", podman.unique)
    expect(podman.ok("exec", container, "echo", "back"), "back", "exec afterwards")


@podman.check
def containers_of_a_pod_start_before_it(podman):
    podman.ok("pod", "create", "--name", podman.unique)
    podman.ok("create", "--pod", podman.unique, "--init-ctr=always", "--volume", f"{podman.unique}:/data", BUSYBOX, "sh", "-c", "echo ready >/data/file")
    main = podman.ok("create", "--pod", podman.unique, "--volume", f"{podman.unique}:/data", BUSYBOX, "cat", "/data/file")
    podman.ok("pod", "start", podman.unique)
    until(lambda: podman.logs(main) == "ready\n", "what the first container left")


@podman.check
def a_pod_is_written_down_and_played(podman):
    podman.ok("pod", "create", "--name", podman.unique)
    podman.detached("--pod", podman.unique, "--name", f"{podman.unique}-main", BUSYBOX, *STAY)
    file = podman.scratch / "pod.yaml"
    file.write_text(podman.ok("generate", "kube", podman.unique))
    podman.ok("pod", "rm", "--force", "--time=0", podman.unique)
    podman.ok("kube", "play", file)
    expect(podman.ok("pod", "inspect", "--format", "{{.State}}", podman.unique), "Running", "its state")
    names = json.loads(podman.ok("pod", "inspect", podman.unique))["Containers"]
    expect(len(names), 2, "containers")
    podman.ok("kube", "down", file)
