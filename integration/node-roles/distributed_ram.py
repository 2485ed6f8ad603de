"""distributed-ram: two servers in two containers; what the first was given the second serves when the first is killed."""

import secrets


def show(node):
    node.network("first", "10.77.1.1/24")
    node.network("second", "10.77.1.2/24")
    password = f"PASSWORD={secrets.token_hex(8)}"
    serve = ["/etc/sv/distributed-ram/run"]
    client = ["REDISCLI_AUTH=" + password.removeprefix("PASSWORD=")]
    first = node.container("first", ["distributed-ram"], serve, network="first", env=[password, *client, "BIND=10.77.1.1"]).start()
    settings = [password, *client, "BIND=10.77.1.2", "REPLICA_OF=10.77.1.1 6379"]
    second = node.container("second", ["distributed-ram"], serve, network="second", env=settings, by="file").start()

    def ask(container, *words):
        address = "10.77.1.1" if container is first else "10.77.1.2"
        done = container.call("redis-cli", "-h", address, *words, check=False)
        return (done.stdout + done.stderr).strip()

    node.until("the second is linked to the first", lambda: "master_link_status:up" in ask(second, "info", "replication"))
    value = secrets.token_hex(16)
    node.equal("the first takes a value", ask(first, "set", "key", value), "OK")
    node.equal("one replica has it", ask(first, "wait", "1", "5000"), "1")
    node.equal("it can be read from the second", ask(second, "get", "key"), value)
    node.expect("the second takes no writes while it is a replica", ask(second, "set", "key", "x").startswith("READONLY"))
    done = second.shell("unset REDISCLI_AUTH; redis-cli -h 10.77.1.1 get key", check=False)
    node.expect("nobody is served without the password", "NOAUTH" in done.stdout + done.stderr, done)
    first.kill()
    node.until("the second has lost the first", lambda: "master_link_status:down" in ask(second, "info", "replication"))
    node.expect("the first is gone", "refused" in ask_gone(second) or "Could not connect" in ask_gone(second), ask_gone(second))
    node.equal("the second still serves the value", ask(second, "get", "key"), value)
    node.equal("it becomes the first", ask(second, "replicaof", "no", "one"), "OK")
    node.equal("and takes writes", ask(second, "append", "key", "!"), str(len(value) + 1))
    return f"the value {value[:8]}… outlived the server it was given to"


def ask_gone(container):
    done = container.shell("redis-cli -h 10.77.1.1 ping", check=False, timeout=30)
    return done.stdout + done.stderr
