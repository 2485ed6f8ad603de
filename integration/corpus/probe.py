"""Asks a server of this network namespace until it answers or the time is over: `probe.py JSON SECONDS` prints the answer."""

import json
import socket
import struct
import sys
import time


def stream(probe):
    with socket.create_connection(("127.0.0.1", probe["port"]), timeout=2) as connection:
        connection.sendall(probe.get("send", "").encode())
        answer = b""
        try:
            while len(answer) < 65536 and (more := connection.recv(4096)):
                answer += more
        except TimeoutError:
            pass
        return answer


def name_server(probe):
    """The addresses a DNS server has for a name."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in probe["dns"].split(".")) + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.sendto(struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + question, ("127.0.0.1", probe["port"]))
        answer = asking.recv(4096)
    count = struct.unpack(">H", answer[6:8])[0]
    # the answers follow the question: a pointer to the name, type, class, time to live, length, address
    place, found = 12 + len(question), []
    for _ in range(count):
        kind, length = struct.unpack(">HxxxxxxH", answer[place + 2 : place + 12])
        data = answer[place + 12 : place + 12 + length]
        if kind == 1:
            found.append(".".join(map(str, data)))
        place += 12 + length
    return "\n".join(found).encode()


def datagram(probe):
    """One UDP datagram of hexadecimal digits and what comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.sendto(bytes.fromhex(probe["udp"]), ("127.0.0.1", probe["port"]))
        return asking.recv(65536)


def main():
    probe, deadline = json.loads(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    ask = name_server if "dns" in probe else datagram if "udp" in probe else stream
    while time.monotonic() < deadline:
        try:
            answer = ask(probe)
        except (OSError, struct.error):
            answer = b""
        if answer:
            sys.stdout.buffer.write(answer)
            return
        time.sleep(0.1)


main()
