"""advanced-consensus: three members of etcd in three containers; with one lost writes go on, with two lost they do not."""

import json

NAMES = ("one", "two", "three")
ADDRESS = {name: f"10.77.2.{number}" for number, name in enumerate(NAMES, 1)}
PEERS = ",".join(f"{name}=http://{ADDRESS[name]}:2380" for name in NAMES)


def member(node, name):
    """A container whose member keeps its data in a directory of the node, as one that is started again needs."""
    address, data = ADDRESS[name], node.directory / f"data-{name}"
    data.mkdir(exist_ok=True, mode=0o700)
    settings = {
        "NAME": name,
        "DATA_DIR": "/data",
        "LISTEN_PEER_URLS": f"http://{address}:2380",
        "INITIAL_ADVERTISE_PEER_URLS": f"http://{address}:2380",
        "LISTEN_CLIENT_URLS": f"http://{address}:2379",
        "ADVERTISE_CLIENT_URLS": f"http://{address}:2379",
        "INITIAL_CLUSTER": PEERS,
        "INITIAL_CLUSTER_STATE": "new",
        # two shared cores: a late heartbeat is no lost member
        "HEARTBEAT_INTERVAL": "250",
        "ELECTION_TIMEOUT": "2500",
        "LOGGER": "zap",
    }
    env = [f"ETCD_{key}={value}" for key, value in settings.items()]
    env += ["ETCDCTL_API=3", f"ETCDCTL_ENDPOINTS=http://{address}:2379"]
    number = len(node.containers)
    return node.container(f"{name}-{number}", ["advanced-consensus"], ["etcd"], network=name, env=env, mounts=[(data, "/data", "rw")])


def show(node):
    for name in NAMES:
        node.network(name, f"{ADDRESS[name]}/24")
    members = {name: member(node, name).start() for name in NAMES}

    def ask(name, *words, check=False):
        done = members[name].call("etcdctl", "--command-timeout=8s", *words, check=check)
        return (done.stdout + done.stderr).strip()

    def leader():
        """The member that says of itself that it leads."""
        for name in members:
            try:
                status = json.loads(ask(name, "endpoint", "status", "--write-out=json"))[0]["Status"]
            except ValueError:
                continue
            # what is 0 is left out: there is no leader
            if status.get("leader") == status["header"]["member_id"]:
                return name
        return None

    node.until("three members have a leader", lambda: leader() is not None)
    node.until("every member is healthy", lambda: all("is healthy" in ask(name, "endpoint", "health") for name in NAMES))
    node.equal("three members know each other", len(ask("one", "member", "list").splitlines()), 3)
    node.equal("one takes a value", ask("one", "put", "key", "first"), "OK")
    node.equal("another one has it", ask("three", "get", "--print-value-only", "key"), "first")

    lost = leader()
    node.expect("there is a leader to lose", lost in members)
    members[lost].kill()
    del members[lost]
    rest = list(members)
    node.until("the others have a leader of their own", lambda: leader() in rest)
    node.until("they accept a write", lambda: ask(rest[0], "put", "key", "second") == "OK")
    node.equal("and agree on it", ask(rest[1], "get", "--print-value-only", "key"), "second")

    members[rest[1]].kill()
    gone = rest[1]
    del members[gone]
    said = ask(rest[0], "put", "key", "third")
    node.expect("one of three accepts no write", "OK" not in said.split() and ("timeout" in said or "timed out" in said or "no leader" in said or "deadline" in said), said)
    members[lost] = member(node, lost).start()
    node.until("with the lost member back there is a majority, and a write is taken", lambda: ask(rest[0], "put", "key", "fourth") == "OK")
    node.until("the member that was away has caught up", lambda: ask(lost, "get", "--print-value-only", "key") == "fourth")
    return f"the leader ({lost}) lost and a write accepted; two lost and none; one back and accepted"
