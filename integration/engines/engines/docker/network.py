"""Networks: the bridge, names, published ports, namespaces that are shared, and the hook docker puts into the bundle."""

import urllib.request

from ..commands import expect, expect_in, until
from .engine import BUSYBOX, docker

SERVE = ("sh", "-c", "mkdir -p /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www")


def fetch(address):
    """What a web server says, or nothing."""
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@docker.check
def the_bridge_gives_an_address(docker):
    container = docker.begin(BUSYBOX, "sleep", "100")
    address = docker.inspect(container, "{{.NetworkSettings.IPAddress}}")
    expect_in(f"inet {address}/", docker.ok("exec", container, "ip", "address", "show", "eth0"), "eth0")


@docker.check
def no_network_has_a_loopback_only(docker):
    docker.run("--network", "none", BUSYBOX, "ls", "/sys/class/net").ok().prints("lo")


@docker.check
def the_hosts_network(docker):
    expect_in("docker0", docker.run("--network", "host", BUSYBOX, "ls", "/sys/class/net").ok().output, "interfaces")


@docker.check
def the_network_of_another_container(docker):
    server = docker.begin(BUSYBOX, *SERVE)
    fetch_it = ("run", "--rm", "--network", f"container:{server}", BUSYBOX, "wget", "-qO-", "http://127.0.0.1/")
    until(lambda: docker.call(*fetch_it).output == "served\n", "the answer")


@docker.check
def a_published_port_answers(docker):
    docker.begin("--publish", "127.0.0.1:8093:80", BUSYBOX, *SERVE)
    until(lambda: fetch("127.0.0.1:8093") == "served\n", "the answer")


@docker.check
def a_container_answers_on_its_address(docker):
    container = docker.begin(BUSYBOX, *SERVE)
    address = docker.inspect(container, "{{.NetworkSettings.IPAddress}}")
    until(lambda: fetch(address) == "served\n", "the answer")
    docker.run(BUSYBOX, "wget", "-qO-", f"http://{address}/").ok().prints("served")


@docker.check
def containers_find_each_other_by_name(docker):
    docker.ok("network", "create", docker.unique)
    docker.begin("--network", docker.unique, "--name", "server", "--network-alias", "also", BUSYBOX, *SERVE)
    for name in ("server", "also"):
        until(lambda: docker.call("run", "--rm", "--network", docker.unique, BUSYBOX, "wget", "-qO-", f"http://{name}/").output == "served\n", name)


@docker.check
def a_network_is_joined_and_left_at_run_time(docker):
    docker.ok("network", "create", docker.unique)
    container = docker.begin(BUSYBOX, "sleep", "100")
    docker.ok("network", "connect", docker.unique, container)
    docker.ok("exec", container, "test", "-e", "/sys/class/net/eth1")
    docker.ok("network", "disconnect", docker.unique, container)
    docker.call("exec", container, "test", "-e", "/sys/class/net/eth1").exits(1)


@docker.check
def a_restarted_container_has_a_network_again(docker):
    container = docker.begin("--publish", "127.0.0.1:8094:80", BUSYBOX, *SERVE)
    until(lambda: fetch("127.0.0.1:8094") == "served\n", "the answer")
    docker.ok("restart", "--time", "0", container)
    until(lambda: fetch("127.0.0.1:8094") == "served\n", "the answer after the restart")


@docker.check
def a_low_port_for_a_user_by_sysctl(docker):
    docker.run("--user", "app", "--sysctl", "net.ipv4.ip_unprivileged_port_start=0", BUSYBOX, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start").ok().prints("0")
