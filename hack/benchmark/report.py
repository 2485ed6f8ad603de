"""Tables of a result, for a terminal and for docs/performance.md."""

import statistics

from . import cases, estimate, figures, machine
from .machine import OURS

# peaks of memory: title, case, step of a cycle; "own": of the process alone
PEAKS = [
    ("peak of `run`, composition off", "run", "own"),
    ("... or of the container's program, where that is larger", "run", None),
    ("peak of `run`, 4 components", "run-4", "own"),
    ("... or of the container's program, where that is larger", "run-4", None),
    ("peak of `create`, 4 components", "cycle-4", "create"),
    ("peak of the container's first process, 4 components", "cycle-4", "gone"),
    ("peak of `start`, 4 components", "cycle-4", "start"),
    ("peak of `delete`, 4 components", "cycle-4", "delete"),
    ("peak of `exec`", "exec", "own"),
    ("peak of `state`", "state", None),
]
# what stays beside a container, by how it was started
STAYS = {
    "created": "added by a container that waits for start",
    "run": "added by a `run` in the foreground",
    "detached": "added by a container whose runtime has ended",
}
BEGIN, END = "<!-- hack/bench: begin -->", "<!-- hack/bench: end -->"


def table(header, rows):
    """Columns as wide as what is in them; valid Markdown."""
    rows = [header, *rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


def spread(triple, digits=2):
    value, low, high = triple
    if low == high:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def cell(triple, digits=2):
    return spread(triple, digits) if triple else ""


def baseline(contenders):
    return "crun" if "crun" in contenders else "runc"


def by_runtime(samples, scale=1.0):
    """Medians as whole numbers, a cell for each runtime."""
    return [f"{statistics.median(samples[label]) * scale:.0f}" if label in samples else "" for label in machine.RUNTIMES]


def singles(view):
    """Cases of one container a sample."""
    return {name: case for name, case in view["cases"].items() if case["jobs"] == 1}


def times(view):
    """(e) and the like: a row for each case."""
    rows = []
    for case in singles(view).values():
        contenders = case["contenders"]
        base = baseline(contenders)
        walls = {label: one["wall_ms"] for label, one in contenders.items()}
        row = [case["title"]]
        row += [f"{statistics.median(walls[label]):.2f}" if label in walls else "" for label in machine.RUNTIMES]
        row.append(cell(estimate.compared(walls[OURS], walls[base])))
        row.append(cell(estimate.compared(contenders[OURS]["cpu_ms"], contenders[base]["cpu_ms"])))
        row.append("" if base == "runc" else f"{statistics.median(walls['runc']) / statistics.median(walls[base]):.2f}")
        rows.append(row)
    base = baseline(next(iter(view["cases"].values()))["contenders"]) if view["cases"] else "crun"
    header = ["wall time, ms", *machine.RUNTIMES, f"{OURS} / {base}", f"processor time / {base}'s", f"runc / {base}"]
    return table(header, rows)


def variants(view):
    """The contenders that are no runtime's usual way."""
    rows = []
    for case in singles(view).values():
        walls = {label: one["wall_ms"] for label, one in case["contenders"].items()}
        base = baseline(walls)
        for label, samples in walls.items():
            if label not in machine.RUNTIMES:
                middle = statistics.median(samples)
                difference = (middle - statistics.median(walls[OURS])) * 1e3
                ratio = cell(estimate.compared(samples, walls[base]))
                rows.append([case["title"], label, f"{middle:.2f}", ratio, f"{difference:+.0f}"])
    return table(["case", "who", "ms", f"/ {base}", f"us more than {OURS}"], rows) if rows else ""


def steps(view):
    """(b), (d): the commands of the cycles one by one, in ms."""
    rows = []
    for case in singles(view).values():
        for label, one in case["contenders"].items():
            if "steps" in one and (label in machine.RUNTIMES or label == cases.OFF):
                middle = {name: statistics.median(step["wall_ms"]) for name, step in one["steps"].items()}
                rows.append([case["title"], label, *(f"{middle[name]:.2f}" for name in ("create", "start", "delete", "gone"))])
    return table(["case", "who", "create", "start", "delete", "from start's end to the container's"], rows) if rows else ""


def throughput(view):
    """(g)"""
    rows = []
    for case in view["cases"].values():
        if case["jobs"] == 1:
            continue
        rates = {label: [case["jobs"] / wall * 1e3 for wall in one["wall_ms"]] for label, one in case["contenders"].items()}
        rows.append([case["title"], *by_runtime(rates), cell(estimate.compared(rates[OURS], rates[baseline(rates)]))])
    return table(["containers per second", *machine.RUNTIMES, f"{OURS} / crun"], rows) if rows else ""


def memory(view):
    """(h): peaks of commands and of what waits for start, and what stays, in kB of 1000 bytes."""
    rows = []
    for title, name, step in PEAKS:
        contenders = view["cases"].get(name, {}).get("contenders", {})
        if OURS in contenders:
            kib = {label: one["peak_kib"] for label, one in contenders.items()}
            if step == "own":
                kib = view.get("own_peaks", {}).get(name, kib)
            elif step:
                kib = {label: one["steps"][step]["peak_kib"] for label, one in contenders.items()}
            rows.append([title, *by_runtime(kib, 1.024)])
    kept = view.get("memory", {})
    for kind, title in STAYS.items() if kept else ():
        rows.append([f"{title} (PSS)", *by_runtime({label: [one[kind]["pss_kib"]] for label, one in kept.items()}, 1.024)])
    return table(["memory, kB", *machine.RUNTIMES], rows) if rows else ""


def loads(result):
    """(i)"""
    rows = [
        [
            row["component"],
            f"{row['stored'] / 1e6:.2f}",
            str(row["entries"]),
            f"{row['ours_ms']:.1f}",
            f"{row['tar_ms']:.1f}",
            f"{row['ours_ms'] / row['tar_ms']:.2f}",
        ]
        for row in result.get("loads", [])
    ]
    return table(["component", "MB stored", "entries", "first load, ms", "tar --zstd -x, ms", "load / tar"], rows) if rows else ""


def promised(result):
    rows = []
    for one in figures.all_of(result):
        bound = "" if one.limit is None else ("at least " if one.least else "at most ") + one.written(one.limit)
        got = "" if one.value is None else one.written(one.value)
        if one.low is not None and one.low < one.high:
            got += f" [{one.written(one.low)}, {one.written(one.high)}]"
        rows.append([one.view, one.text, bound, got, one.verdict])
    return table(["view", "figure", "promised", "measured", "verdict"], rows)


def limits(result):
    """The machine and what it cannot do, as Markdown items."""
    facts = result["machine"]
    rounds = result["rounds"]
    lines = [
        f"{result['date']}, {rounds} rounds, {result['minutes']:.0f} minutes; fragment-runc {facts['commit']}",
        (
            f"{facts['processors']} processors ({facts['processor']}), {facts['memory_bytes'] / 1e9:.0f} GB, Linux {facts['kernel']}; "
            f"of the processors' time other work on this machine had {facts['others']:.0%} (the kernel's threads included) and other "
            f"machines of its host {facts['stolen']:.1%}"
        ),
        "; ".join(facts["versions"].values()),
        (
            f"file systems: {facts['scratch']} for bundles, state and kept plans, {facts['disk']} for bundles that are kept or cold, "
            f"{facts['store']} for the library"
        ),
    ]
    if facts["layout"] == "hybrid":
        lines.append(
            "the machine's own layout is hybrid, which crun refuses. Each view is a private mount namespace: pure v2 has `cgroup2` alone "
            "on /sys/fs/cgroup, whose only controller is hugetlb; pure v1 lacks the `unified` mount"
        )
    if not facts["sys_resource"]:
        lines.append(
            "no CAP_SYS_RESOURCE: crun cannot load rules for devices under v2, so no runtime is given any there; under v1 all have "
            "those of `runc spec`"
        )
    return "".join(f"- {line}\n" for line in lines)


def of_view(name, view):
    parts = [
        ("Times", times(view)),
        ("Command by command, ms", steps(view)),
        ("Other ways", variants(view)),
        ("Many containers", throughput(view)),
        ("Memory", memory(view)),
    ]
    head = f"### {machine.VIEW_TITLES[name][0].upper()}{machine.VIEW_TITLES[name][1:]}\n"
    components = "; ".join(f"{count}: {', '.join(names) or 'no more than it needs'}" for count, names in view["components"].items())
    text = "\n".join(f"#### {title}\n\n{body}" for title, body in parts if body)
    return f"{head}\n{text}" + (f"\nComponents asked for beside what the program needs: {components}.\n" if components else "")


def markdown(result):
    """Everything; medians, 95 % intervals in brackets."""
    parts = [f"### What is promised\n\n{promised(result)}", f"### The machine\n\n{limits(result)}"]
    parts += [of_view(name, view) for name, view in result["views"].items()]
    if text := loads(result):
        parts.append(f"### First loads\n\n{text}")
    return "\n".join(parts)


def replace(path, text):
    """Puts the text between the marks of the file; a file without marks becomes the text."""
    had = path.read_text() if path.exists() else ""
    if BEGIN in had and END in had:
        before, _, rest = had.partition(BEGIN)
        _, _, after = rest.partition(END)
        text = f"{before}{BEGIN}\n\n{text}\n{END}{after}"
    path.write_text(text)
