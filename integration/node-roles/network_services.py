"""network-services: two containers get addresses and names from a third; a firewall rule holds; the time is served."""

import re

# what udhcpc calls with what it was told
LEASE = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
echo "nameserver $dns" >/etc/resolv.conf
echo "search $domain" >>/etc/resolv.conf
echo "$ip" >/run/address
"""
SERVER = """
set -e
ip address add 10.77.5.1/24 dev eth0
cat >/run/dnsmasq.conf <<END
no-resolv
no-hosts
domain=roles.test
local=/roles.test/
expand-hosts
address=/fixed.roles.test/192.0.2.7
interface=eth0
bind-interfaces
dhcp-authoritative
no-ping
dhcp-range=10.77.5.100,10.77.5.150,10m
dhcp-leasefile=/var/lib/misc/leases
END
cat >/run/chrony.conf <<END
local stratum 7
allow 10.77.5.0/24
cmdport 0
driftfile /var/lib/chrony/drift
END
chronyd -x -f /run/chrony.conf
exec dnsmasq --no-daemon --user=dnsmasq --conf-file=/run/dnsmasq.conf
"""
# two services, and what answers on each is told apart
CLIENT = """
udhcpc -f -q -n -t 10 -T 3 -i eth0 -x hostname:"$(hostname)" -s /etc/udhcpc/default.script || exit 1
tcpserver -HRl0 0 7001 sh -c 'echo open' &
exec tcpserver -HRl0 0 7002 sh -c 'echo closed'
"""
RULES = """
table inet guard {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport 7002 counter drop comment "closed"
  }
}
"""


def show(node):
    for name in ("server", "alpha", "beta"):
        node.network(name)
    rights = ("NET_ADMIN", "NET_RAW")
    server = node.container("server", ["network-services"], ["sh", "-c", SERVER], network="server", capabilities=rights).start()
    node.until("the server listens", lambda: "DHCP, sockets bound" in server.said())

    files = {"etc/udhcpc/default.script": LEASE}
    # one has the role too, for its firewall; the other has what every container with a network has
    alpha = node.container("alpha", ["network-services"], ["sh", "-c", CLIENT], network="alpha", capabilities=rights, files=files, by="file").start()
    beta = node.container("beta", ["tcp-stack"], ["sh", "-c", CLIENT], network="beta", capabilities=rights, files=files).start()

    def address(container):
        return container.shell("cat /run/address", check=False).stdout.strip()

    node.until("both have an address", lambda: address(alpha) and address(beta))
    given = [address(alpha), address(beta)]
    node.expect("of the server's range", all(re.fullmatch(r"10\.77\.5\.1[0-4]\d|10\.77\.5\.150", one) for one in given), given)
    node.expect("each its own", given[0] != given[1], given)
    node.expect("the interface has it", f"{given[1]}/24" in beta.call("ip", "-brief", "address", "show", "dev", "eth0").stdout)

    def resolved(container, name):
        said = container.shell(f"nslookup -type=a {name}", check=False).stdout
        return re.findall(r"^Address: ([\d.]+)$", said, re.M)

    node.equal("a container is found by its name", resolved(beta, "alpha.roles.test"), [given[0]])
    node.equal("and the other one", resolved(alpha, "beta.roles.test"), [given[1]])
    node.equal("a name of the configuration", resolved(beta, "fixed.roles.test"), ["192.0.2.7"])
    node.equal("there is no other name", resolved(beta, "gamma.roles.test"), [])
    node.equal("a program finds it too", beta.shell("getent hosts alpha.roles.test || ping -c 1 -W 5 alpha.roles.test | head -n 1").stdout.count(given[0]) > 0, True)

    def connected(port):
        """What a service says, or nothing when nobody answers within three seconds."""
        return beta.shell(f"tcpclient -HRl0 -T 3 {given[0]} {port} sh -c 'cat <&6'", check=False, timeout=30).stdout.strip()

    node.equal("without a rule both ports answer", [connected(7001), connected(7002)], ["open", "closed"])
    alpha.shell(f"nft -f - <<'END'\n{RULES}\nEND")
    node.equal("with the rule one does", [connected(7001), connected(7002)], ["open", ""])
    counted = re.search(r"counter packets (\d+)", alpha.call("nft", "list", "chain", "inet", "guard", "input").stdout)
    node.expect("the rule has counted what it dropped", counted and int(counted[1]) > 0, counted)
    denied = server.shell(f"tcpclient -HRl0 -T 3 {given[0]} 7002 true", check=False, timeout=30).returncode
    node.expect("for the server too", denied != 0)
    alpha.call("nft", "delete", "table", "inet", "guard")
    node.equal("without it both answer again", [connected(7001), connected(7002)], ["open", "closed"])
    done = node.run(["network-services"], "nft", "add", "table", "inet", "mine", network="alpha", check=False)
    node.expect("a container without the right makes no rule", done.returncode != 0 and "not permitted" in done.stderr, done)

    done = node.run(["network-services"], "chronyd", "-Q", "-t", "20", "-u", "root", "server 10.77.5.1 iburst", network="alpha", check=False)
    offset = re.search(r"System clock wrong by (-?[\d.]+) seconds", done.stdout + done.stderr)
    node.expect("the server tells the time", offset and abs(float(offset[1])) < 1, done)
    return f"{given[0]} and {given[1]} given and named; a port closed by a rule and open without; the clock off by {offset[1]} s"
