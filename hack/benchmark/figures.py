"""What is promised, and whether it is reached."""

import dataclasses
import operator
import statistics

from . import cases, estimate
from .machine import OURS

# most that our wall time may be of crun's, by case: (pure v2, pure v1)
RATIOS = {"cycle-4": (0.75, 1.0), "cycle-4-readonly": (0.75, 1.0), "run": (0.9, 1.2), "run-4": (1.0, 1.3), "exec": (0.9, 1.0)}
# containers per second beside crun's, at least
RATE = 1.25
# what a plan adds, in us
KEPT, ANEW = 150, 1500
PROGRAM_MB = 4.0


@dataclasses.dataclass
class Figure:
    """One promise in one view. `limit` is in `unit`; `least`: it is a lower bound. `value` None: not measured. Without a limit it is told
    beside the others."""

    text: str
    view: str
    unit: str
    limit: float | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    least: bool = False

    @property
    def reached(self):
        """None where nothing is promised or measured."""
        if self.limit is None or self.value is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def sure(self):
        """Whether the limit is outside of the interval. One sample has none."""
        if self.limit is None or self.low is None:
            return True
        return self.low < self.high and not self.low <= self.limit <= self.high

    @property
    def verdict(self):
        if self.value is None:
            return "not measured"
        verdict = {None: "beside", True: "reached", False: "NOT REACHED"}[self.reached]
        return verdict if self.sure else f"{verdict}, unsure"

    def written(self, number):
        return {"x": f"{number:.2f}", "us": f"{number:.0f} us", "MB": f"{number:.2f} MB"}[self.unit]


def samples(view, case, label, key):
    """Times in ms; None where they were not measured."""
    contenders = view["cases"].get(case, {}).get("contenders", {})
    return contenders.get(label, {}).get(key)


def compared(view, case, label, other, how=estimate.ratio, scale=1.0, key="wall_ms"):
    one, two = samples(view, case, label, key), samples(view, case, other, key)
    if not one or not two:
        return {}
    value, low, high = estimate.compared(one, two, how)
    return {"value": value * scale, "low": low * scale, "high": high * scale}


def limit(view, case):
    """Most that our time may be of crun's; None where nothing is promised."""
    if case.startswith("many-100-16-"):
        return 1 / RATE
    return RATIOS[case][0 if view == "v2" else 1] if case in RATIOS else None


def of_view(name, view):
    """All figures of one view. Limits are (pure v2, pure v1)."""

    def against_crun(text, case):
        return Figure(text, name, "x", limit(name, case), **compared(view, case, OURS, "crun"))

    def adds(text, case, label, other, most, key="wall_ms"):
        return Figure(text, name, "us", most, **compared(view, case, label, other, operator.sub, 1e3, key))

    def rate(text, case):
        return Figure(text, name, "x", RATE, least=True, **compared(view, case, "crun", OURS))

    return [
        against_crun(f"{cases.CYCLE}, 4 components, throw-away root, beside crun", "cycle-4"),
        against_crun(f"{cases.CYCLE}, 4 components, read-only root, beside crun", "cycle-4-readonly"),
        against_crun(f"{cases.CYCLE}, 4 components, root kept on disk, beside crun", "cycle-4-disk"),
        against_crun("run /bin/true, composition off, beside crun", "run"),
        against_crun("run, 4 components, throw-away root, beside crun", "run-4"),
        adds("a kept plan of 8 components adds, read-only root", "run-8-readonly", OURS, cases.OFF, KEPT),
        adds("a kept plan of 8 components adds, throw-away root", "run-8", OURS, cases.OFF, KEPT),
        adds("a kept plan of 8 components adds, read-only root, processor time", "run-8-readonly", OURS, cases.OFF, None, "cpu_ms"),
        adds("a kept plan of 8 components on top of the complete root adds", "run-8-readonly", cases.FORCED, cases.OFF, None),
        adds("a plan made anew for a program of 30 libraries adds", "run-libraries", cases.ANEW, cases.OFF, ANEW),
        adds("a plan made anew adds, processor time", "run-libraries", cases.ANEW, cases.OFF, None, "cpu_ms"),
        adds("a plan made anew, beside a kept one, adds", "run-libraries", cases.ANEW, OURS, None),
        against_crun("exec /bin/true, beside crun", "exec"),
        *peaks(name, view),
        rate("containers per second, 16 in parallel, 4 components, beside crun", "many-100-16-4"),
        rate("containers per second, 16 in parallel, composition off, beside crun", "many-100-16-0"),
    ]


def peaks(name, view):
    """Largest resident set of a command, beside crun's of the same command; where it waits for the container's program, of its own process."""
    commands = {
        "run": "run, composition off",
        "run-4": "run, 4 components",
        "cycle-4": "create, start and delete, 4 components",
        "exec": "exec",
        "state": "state",
    }
    for case, text in commands.items():
        contenders = view["cases"].get(case, {}).get("contenders", {})
        measured = {}
        own = view.get("own_peaks", {}).get(case, {})
        kib = {label: own.get(label, one["peak_kib"]) for label, one in contenders.items()}
        if OURS in kib and "crun" in kib:
            measured["value"] = statistics.median(kib[OURS]) / statistics.median(kib["crun"])
        yield Figure(f"peak memory of {text}, beside crun", name, "x", 1.0, **measured)


def all_of(result):
    """Figures of the views in which crun works, the headline first; the size of the program last."""
    figures = [figure for name, view in result["views"].items() if name != "hybrid" for figure in of_view(name, view)]
    return [*figures, Figure("the program, stripped", "", "MB", PROGRAM_MB, result["machine"]["program_bytes"] / 1e6)]
