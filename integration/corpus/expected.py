"""The list of failures that are known: `name = "reason"`, one a line. What is not on it has to pass, what is on it has to fail."""

import json
import tomllib


def load(file):
    return tomllib.loads(file.read_text()) if file.exists() else {}


def compare(file, lines, update, partial, composed=True):
    """Exit status of a run: 0 when references are right and failures are exactly the expected ones."""
    listed = load(file)
    wrong = [f"{line['id']}: not right in the reference: {line['reference']}" for line in lines if line.get("reference")]
    failed = {line["id"]: line["failure"] for line in lines if line.get("failure")}
    ran = {line["id"] for line in lines}
    if update and composed:
        kept = {name: reason for name, reason in listed.items() if partial and name not in ran}
        kept.update({name: listed.get(name, reason.splitlines()[0]) for name, reason in failed.items()})
        file.write_text("# What is known to fail on the bare bundle, and why. `run --update-list` adds and removes lines; reasons are for people to better.\n\n" + "".join(f"{json.dumps(name)} = {json.dumps(reason)}\n" for name, reason in sorted(kept.items())))
        listed = kept
    wrong += [f"{name}: {reason}" for name, reason in failed.items() if name not in listed]
    if composed:
        wrong += [f"{name}: passes, but {file.name} says it fails" for name in listed if name in ran and name not in failed]
        wrong += [f"{name}: {file.name} names what is not there" for name in listed if not partial and name not in ran]
    print("\n".join(["", *wrong]) if wrong else "\nas expected")
    return 1 if wrong else 0
