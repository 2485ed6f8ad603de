"""security-services: a certificate that another container's TLS client accepts, and refuses once it is revoked."""


def show(node):
    for number, name in enumerate(("authority", "server", "client"), 1):
        node.network(name, f"10.77.6.{number}/24")
    # what the authority hands out: the server's key to the server alone, the rest to everybody
    private, public = node.directory / "private", node.directory / "public"
    private.mkdir(mode=0o700)
    public.mkdir()
    stay = ["sh", "-c", "while :; do sleep 1; done"]
    mounts = [(private, "/private", "rw"), (public, "/public", "rw")]
    authority = node.container("authority", ["security-services"], stay, network="authority", mounts=mounts, env=["NODE_CA=/root/ca"], capabilities=("SETFCAP",)).start()
    node.until("the authority is up", authority.is_there)
    authority.call("node-ca", "init", "node roles")
    authority.call("node-ca", "issue", "server.test", "IP:10.77.6.2")
    authority.shell("cd /root/ca; cp server.test.key /private/; cp server.test.crt /private/; cp ca.crt ca.crl /public/; chmod 644 /public/*")
    node.equal("the authority's key is nobody else's", authority.call("stat", "-c", "%a", "/root/ca/ca.key").stdout, "600\n")
    again = authority.call("node-ca", "issue", "server.test", check=False)
    node.expect("a name has one certificate", again.returncode == 1 and "has a certificate" in again.stderr, again)

    serve = ["openssl", "s_server", "-accept", "4433", "-www", "-key", "/private/server.test.key", "-cert", "/private/server.test.crt"]
    node.container("server", ["openssl"], serve, network="server", mounts=[(private, "/private", "ro")], by="file").start()
    client = node.container("client", ["curl", "openssl"], stay, network="client", mounts=[(public, "/public", "ro")]).start()
    node.until("the client is up", client.is_there)

    def fetch(*options, host="server.test"):
        address = "10.77.6.2" if host == "10.77.6.2" else host
        words = ["curl", "-sS", "--max-time", "10", "--resolve", f"{host}:4433:10.77.6.2", *options, f"https://{address}:4433/"]
        return client.call(*words, check=False)

    trusting = ("--cacert", "/public/ca.crt", "--crlfile", "/public/ca.crl")
    node.until("the server is up", lambda: fetch("--insecure").returncode == 0)
    done = fetch(*trusting)
    node.expect("a client that trusts the authority accepts the certificate", done.returncode == 0 and "TLSv1.3" in done.stdout, done)
    done = fetch(*trusting, host="10.77.6.2")
    node.expect("by its address too", done.returncode == 0, done)
    done = fetch(*trusting, host="other.test")
    node.expect("not under another name", done.returncode == 60 and "other.test" in done.stderr, done)
    done = fetch()
    node.expect("a client that does not trust it refuses", done.returncode == 60 and "certificate" in done.stderr, done)

    authority.call("node-ca", "revoke", "server.test")
    done = fetch(*trusting)
    node.equal("revoked and not told, the client still accepts", done.returncode, 0)
    authority.shell("cp /root/ca/ca.crl /public/")
    done = fetch(*trusting)
    node.expect("told, the client refuses", done.returncode == 60 and "revoked" in done.stderr, done)
    words = "openssl s_client -connect 10.77.6.2:4433 -CAfile /public/ca.crt -CRL /public/ca.crl -crl_check -verify_return_error </dev/null 2>&1"
    done = client.shell(words, check=False)
    node.expect("so does another client", done.returncode != 0 and "certificate revoked" in done.stdout, done)
    # policy and audit; the kernel talks of audit to processes with its own numbers alone
    said = authority.shell("cp /usr/bin/busybox /root/nc && setcap cap_net_bind_service=ep /root/nc && getcap /root/nc").stdout
    node.equal("a file is given a capability", said, "/root/nc cap_net_bind_service=ep\n")
    done = client.shell("command -v setcap", check=False)
    node.expect("who does not have the role does not have its commands", done.returncode != 0, done)
    status, said = node.container("auditor", ["security-services"], ["auditctl", "-s"], capabilities=("AUDIT_CONTROL",), shared=("pid",)).finish()
    node.expect("the kernel's audit answers", status == 0 and "backlog_limit" in said, said)
    status, said = node.container("nobody", ["security-services"], ["auditctl", "-s"], shared=("pid",)).finish()
    node.expect("not one who may not ask", status != 0 and "must be root" in said, said)
    return "accepted; refused by strangers and under another name; refused once revoked"
