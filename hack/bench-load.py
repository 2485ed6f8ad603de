"""First load of components beside `tar --zstd -x` of the same layers: medians of wall time, interleaved, as ratios.

Both are whole processes that unpack a layer that is in the page cache to the same file system; ours checks digests as well. Absolute times of
a shared machine mean nothing; ratios within one run do.
"""

import argparse
import fnmatch
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from stopwatch import timed

TOP = pathlib.Path(__file__).resolve().parent.parent
FRAGMENT = os.environ.get("FRAGMENT", TOP / "target/bin/fragment")
# a first load takes at most a fifth of what is promised
TIMES_BETTER = 5
# components that a user is promised, with the longest first load in ms
PROMISED = {
    "tcp-stack": 50,
    "dns-resolver": 30,
    "socket-api": 25,
    "init-system": 200,
    "service-manager": 100,
    "device-manager": 75,
    "job-control": 40,
    "signal-handling": 35,
    "advanced-proc-mgmt": 45,
}
# the core, what every user needs and the node roles, as far as the library has them; `NAME*`: all whose names begin so
OTHERS = [
    "core", "glibc", "libstdc++", "openssl", "libcrypto", "ca-certificates", "tzdata", "locales", "c-utf8", "coreutils", "bash",
    "curl", "git", "python3", "perl", "nodejs", "ruby", "openjdk*",
    "vm-manager", "distributed-ram", "advanced-consensus", "storage-management", "network-services", "security-services",
]  # fmt: skip


def wanted(known):
    """Names of the components to measure among those that the library has, in the order above."""
    for pattern in [*PROMISED, *OTHERS]:
        yield from (name for name in sorted(known) if fnmatch.fnmatchcase(name, pattern))


def call(*words):
    return subprocess.run([FRAGMENT, *words], check=True, capture_output=True, text=True).stdout


class Aside:
    """Where trees go that are done with. They are removed at the end, or at once where they take memory.

    ext4 without a journal gives no inode again for some minutes after its removal, and looks at all of these whenever it makes a
    file (`recently_deleted` in fs/ext4/ialloc.c): removals between the rounds would be most of what is measured.
    """

    def __init__(self, scratch):
        self.directory = scratch / "aside"
        self.directory.mkdir()
        kind = subprocess.run(["stat", "--file-system", "--format=%T", scratch], check=True, capture_output=True, text=True).stdout
        self.keeps = kind.strip() != "tmpfs"
        self.count = 0

    def put(self, tree):
        self.count += 1
        tree = tree.rename(self.directory / str(self.count))
        if not self.keeps:
            shutil.rmtree(tree)


def measure(name, store, scratch, aside, rounds):
    manifest = json.loads(call("library", "info", name, "--json"))
    layer = {key: digest.removeprefix("sha256:") for key, digest in manifest["layer"].items()}
    blob, tree = store / "blobs/sha256" / layer["digest"], store / "trees" / layer["diff_id"]
    ours, theirs = [], []
    for _ in range(rounds):
        aside.put(tree)
        blob.read_bytes()
        ours.append(1e3 * timed([FRAGMENT, "library", "load", name])[0])
        directory = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        theirs.append(1e3 * timed(["tar", "--zstd", "-xpf", blob, "-C", directory])[0])
        aside.put(directory)
    loads = json.loads(call("library", "status", "--json"))
    assert any(one["name"] == name and one["loaded"] for one in loads), f"{name} is not loaded"
    return {
        "component": name,
        "stored": manifest["size"]["stored"],
        "entries": manifest["size"]["entries"],
        "ours_ms": statistics.median(ours),
        "tar_ms": statistics.median(theirs),
        "promised_ms": PROMISED.get(name),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as well")
    parser.add_argument("--scratch", type=pathlib.Path, help="unpack on this file system [default: the library's]")
    parser.add_argument("--check", action="store_true", help="exit with 1 when one is slower than tar or takes more than a fifth of the promised time")
    parser.add_argument("names", nargs="*", help="components [default: those of FEATURES.md that the library has]")
    arguments = parser.parse_args()
    library = pathlib.Path(os.environ["FRAGMENT_STORE"])
    with tempfile.TemporaryDirectory(dir=arguments.scratch or library.parent) as scratch:
        # a library of its own: components of the other may be in use
        scratch = pathlib.Path(scratch)
        known = {one["name"] for one in json.loads(call("library", "list", "--json"))}
        names = arguments.names or list(wanted(known))
        call("library", "export", str(scratch / "layout"), *names)
        os.environ["FRAGMENT_STORE"] = str(scratch / "library")
        call("library", "import", str(scratch / "layout"))
        aside = Aside(scratch)
        rows = [measure(name, scratch / "library", scratch, aside, arguments.rounds) for name in names]
    print("| component | stored | entries | load | tar --zstd -x | ratio | promised / load |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        promised = row["promised_ms"]
        times = f"{promised / row['ours_ms']:.1f}" if promised else ""
        print(
            f"| {row['component']} | {row['stored']} | {row['entries']} | {row['ours_ms']:.1f} ms | {row['tar_ms']:.1f} ms "
            f"| {row['ours_ms'] / row['tar_ms']:.2f} | {times} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    slower = [row["component"] for row in rows if row["ours_ms"] >= row["tar_ms"]]
    late = [row["component"] for row in rows if row["promised_ms"] and row["ours_ms"] * TIMES_BETTER > row["promised_ms"]]
    print(f"\n{len(rows)} components; slower than tar: {', '.join(slower) or 'none'}; more than a fifth of the promised time: {', '.join(late) or 'none'}")
    if arguments.check and (slower or late):
        sys.exit(1)


if __name__ == "__main__":
    main()
