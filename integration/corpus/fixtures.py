"""Input files that the cases name with `@`: made here, so that nothing binary is committed and every run has the same bytes."""

import bz2
import functools
import gzip
import io
import lzma
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib

ROWS = b"b 2\na 10\nc 1\n"


def png():
    """Two by two pixels, red."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\xff\0\0" * 2
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row * 2)) + chunk(b"IEND", b"")


def archive_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(zipfile.ZipInfo("f", (2020, 1, 1, 0, 0, 0)), "hello zip\n")
    return out.getvalue()


def archive_tgz():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        member = tarfile.TarInfo("f")
        member.size = 10
        made.addfile(member, io.BytesIO(b"hello tgz\n"))
    return gzip.compress(out.getvalue(), mtime=0)


def pcap():
    """One UDP datagram over the loopback, Ethernet framing."""
    body = b"hi"
    udp = struct.pack(">HHHH", 1234, 5678, 8 + len(body), 0) + body
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
    frame = bytes(12) + b"\x08\0" + ip + udp
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame


def pdf():
    """One page that says Hello."""
    stream = b"BT /F1 24 Tf 20 100 Td (Hello pdf) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table, len(objects) + 1, len(out))


def java_class():
    """class Hello { public static void main(String[] a) { System.out.println("hello java " + 42); } }, by hand: class files need no compiler."""
    pool = []

    def add(tag, data):
        pool.append(bytes([tag]) + data)
        return len(pool)

    def utf8(text):
        return add(1, struct.pack(">H", len(text)) + text.encode())

    def named(tag, *indexes):
        return add(tag, struct.pack(f">{len(indexes)}H", *indexes))

    def member(tag, owner, name, kind):
        return named(tag, named(7, utf8(owner)), named(12, utf8(name), utf8(kind)))

    this, parent = named(7, utf8("Hello")), named(7, utf8("java/lang/Object"))
    out = member(9, "java/lang/System", "out", "Ljava/io/PrintStream;")
    text = named(8, utf8("hello java 42"))
    printed = member(10, "java/io/PrintStream", "println", "(Ljava/lang/String;)V")
    name, kind, code_name = utf8("main"), utf8("([Ljava/lang/String;)V"), utf8("Code")
    code = struct.pack(">BHBBBHB", 0xB2, out, 0x12, text, 0xB6, printed, 0xB1)
    attribute = struct.pack(">HHI", 2, 1, len(code)) + code + struct.pack(">HH", 0, 0)
    method = struct.pack(">HHHHHI", 0x0009, name, kind, 1, code_name, len(attribute)) + attribute
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, 49, len(pool) + 1) + b"".join(pool)
    return head + struct.pack(">HHHHHH", 0x0021, this, parent, 0, 0, 1) + method + struct.pack(">H", 0)


def wav():
    """A tenth of a second of silence, 8 kHz mono."""
    samples = bytes(1600)
    return b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16) + b"data" + struct.pack("<I", len(samples)) + samples


def certificate(subject):
    """A self-signed root made with the machine's openssl."""
    with tempfile.NamedTemporaryFile() as key:
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-keyout", key.name, "-subj", subject]
        return subprocess.run(words, capture_output=True, check=True).stdout


MADE = {
    "rows": lambda: ROWS,
    "png": png,
    "zip": archive_zip,
    "tgz": archive_tgz,
    "gz": lambda: gzip.compress(b"hello gz\n", mtime=0),
    "xz": lambda: lzma.compress(b"hello xz\n"),
    "bz2": lambda: bz2.compress(b"hello bz2\n"),
    "pcap": pcap,
    "pdf": pdf,
    "wav": wav,
    "hello.class": java_class,
    "isrg": lambda: certificate("/C=US/O=Internet Security Research Group/CN=ISRG Root X1"),
}


@functools.lru_cache(maxsize=None)
def made(name):
    if name not in MADE:
        raise ValueError(f"no fixture @{name}: {', '.join(sorted(MADE))} or @bin:NAME of programs/programs.toml")
    return MADE[name]()


def text(value):
    """A file's text as the sample would write it: fixtures of plain text spelled out."""
    return ROWS.decode() if value == "@rows" else value


def content(value, program):
    """Bytes and mode of one entry of a case's `files`; `program` gives the path of a compiled one."""
    if value.startswith("@@"):
        return value[1:].encode(), 0o644
    if value.startswith("@bin:"):
        return program(value.removeprefix("@bin:")).read_bytes(), 0o755
    if value.startswith("@"):
        return made(value[1:]), 0o644
    if value.startswith("!"):
        return value[1:].encode(), 0o755
    return value.encode(), 0o644
