"""vmlinux.py IMAGE OUTPUT: the ELF kernel inside a compressed x86 kernel image.

QEMU starts an ELF kernel at once; the compressed image would unpack itself in emulation first, which takes seconds.
Offsets: Documentation/arch/x86/boot.rst (header at 0x1f1; payload_offset and payload_length since protocol 2.08).
"""

import lzma
import struct
import subprocess
import sys
import zlib


def unpack(payload):
    # the last four bytes are the size of what it unpacks to
    body = payload[:-4]
    if body[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(body)
    if body[:2] == b"\x1f\x8b":
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body)
    for magic, program in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if body[:4] == magic:
            return subprocess.run([program, "-dc"], input=body, stdout=subprocess.PIPE, check=True).stdout
    raise SystemExit(f"vmlinux.py: unknown compression: {body[:8].hex()}")


def main(image, output):
    with open(image, "rb") as file:
        text = file.read()
    if text[0x202:0x206] != b"HdrS":
        raise SystemExit(f"vmlinux.py: {image} is no x86 kernel image")
    setup = (text[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", text, 0x248)
    start = setup * 512 + offset
    kernel = unpack(text[start : start + length])
    if kernel[:4] != b"\x7fELF":
        raise SystemExit(f"vmlinux.py: no ELF kernel in {image}")
    with open(output, "wb") as file:
        file.write(kernel)


if __name__ == "__main__":
    main(*sys.argv[1:])
