"""A picture of a result: a row for each case, a column for each view, wall times as ratios to crun."""

import math
import statistics
from xml.sax.saxutils import escape

from . import cases, estimate, figures, machine
from .machine import OURS

LEFT, PANEL, GAP, ROW, TOP, BOTTOM, RIGHT = 400, 310, 24, 24, 96, 46, 22
TICKS = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
STYLE = """
  svg { color-scheme: light dark }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2933 }
  .page { fill: #ffffff } .band { fill: #f3f5f8 } .title { font-size: 16px; font-weight: 600 } .head { font-weight: 600 }
  .faint { fill: #616e7c } .grid { stroke: #dde2e8 } .one { stroke: #616e7c; stroke-width: 1.5 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .ours { fill: #0b69c7; stroke: #0b69c7 }
  .runc { fill: none; stroke: #8a6d3b; stroke-width: 1.5 } .floor { fill: none; stroke: #2f855a; stroke-width: 1.5 }
  .limit { stroke: #c53030; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb }
    .page { fill: #14181d } .band { fill: #1b2027 } .faint { fill: #9aa5b1 } .grid { stroke: #2b323b } .one { stroke: #9aa5b1 }
    .ours { fill: #58a6ff; stroke: #58a6ff } .runc { stroke: #d9a94e } .floor { stroke: #56d28b } .limit { stroke: #ff7b72 }
  }
"""


class Panel:
    """One view's column; x positions are on a logarithmic scale from `low` to `high`."""

    def __init__(self, at, low, high):
        self.at, self.low, self.high = at, math.log(low), math.log(high)

    def x(self, value):
        part = (math.log(value) - self.low) / (self.high - self.low)
        return self.at + PANEL * min(1.0, max(0.0, part))


def ratios(case):
    """{label: (median, low, high)} of the runtimes and the floor, beside crun."""
    contenders = case["contenders"]
    base = contenders["crun"]["wall_ms"]
    return {label: estimate.compared(contenders[label]["wall_ms"], base) for label in (OURS, "runc", cases.FLOOR) if label in contenders}


def mark(panel, label, triple, y):
    value, low, high = triple
    x = panel.x(value)
    kind = "ours" if label == OURS else label
    interval = f'<line class="{kind}" x1="{panel.x(low):.1f}" x2="{panel.x(high):.1f}" y1="{y}" y2="{y}" stroke-width="2"/>'
    if label == OURS:
        return interval + f'<circle class="ours" cx="{x:.1f}" cy="{y}" r="4.5"/>'
    if label == "runc":
        return interval + f'<circle class="runc" cx="{x:.1f}" cy="{y}" r="4"/>'
    return f'<path class="floor" d="M{x - 4:.1f} {y + 4} L{x:.1f} {y - 4} L{x + 4:.1f} {y + 4} Z"/>'


def described(name, title, label, triple, case):
    """What is shown when the pointer rests on a mark."""
    value, low, high = triple
    middle = statistics.median(case["contenders"][label]["wall_ms"])
    where = f"{title}, {machine.VIEW_TITLES[name]}: {label}"
    return f"<title>{escape(f'{where} {value:.2f} of crun [{low:.2f}, {high:.2f}], {middle:.2f} ms')}</title>"


def column(name, view, order, panel, ticks):
    made = []
    bottom = TOP + ROW * len(order)
    for tick in ticks:
        x = panel.x(tick)
        made.append(f'<line class="{"one" if tick == 1 else "grid"}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        made.append(f'<text class="faint middle" x="{x:.1f}" y="{bottom + 17}">{tick:g}</text>')
    made.append(f'<text class="head" x="{panel.at}" y="{TOP - 12}">{machine.VIEW_TITLES[name]}</text>')
    for row, (case_name, title) in enumerate(order):
        y = TOP + ROW * row + ROW // 2
        if most := figures.limit(name, case_name):
            x = panel.x(most)
            made.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}"/>')
        case = view["cases"].get(case_name)
        for label, triple in reversed(ratios(case).items()) if case else ():
            made.append(f"<g>{described(name, title, label, triple, case)}{mark(panel, label, triple, y)}</g>")
    return made


def key():
    """What the marks mean."""
    y, made = 46, []
    marks = [
        ('<circle class="ours" cx="6" cy="-4" r="4.5"/>', OURS),
        ('<circle class="runc" cx="6" cy="-4" r="4"/>', "runc"),
        ('<path class="floor" d="M2 0 L6 -8 L10 0 Z"/>', "floor: clone, mounts, pivot_root, exec"),
        ('<line class="limit" x1="6" x2="6" y1="-13" y2="5"/>', "promised: left of it"),
    ]
    x = 20
    for shape, text in marks:
        made.append(f'<g transform="translate({x} {y})">{shape}<text x="18" y="0">{text}</text></g>')
        x += 44 + 6.5 * len(text)
    return made


def svg(result):
    """The picture; None where no view has crun."""
    views = {name: view for name, view in result["views"].items() if name != "hybrid" and view["cases"]}
    order = {}
    for view in views.values():
        order.update({name: case["title"] for name, case in view["cases"].items() if OURS in case["contenders"]})
    order = list(order.items())
    if not order:
        return None
    shown = [triple[0] for view in views.values() for case in view["cases"].values() for triple in ratios(case).values()]
    low, high = min(shown + [0.4]) * 0.85, max(shown + [2]) * 1.15
    ticks = [tick for tick in TICKS if low < tick < high]
    width = LEFT + (PANEL + GAP) * len(views) - GAP + RIGHT
    height = TOP + ROW * len(order) + BOTTOM
    made = [f'<rect class="page" width="{width}" height="{height}"/>']
    made.append('<text class="title" x="20" y="26">Wall time beside crun (crun = 1, less is faster)</text>')
    made += key()
    for row, (_, title) in enumerate(order):
        y = TOP + ROW * row
        if row % 2 == 0:
            made.append(f'<rect class="band" x="12" y="{y}" width="{width - 24}" height="{ROW}"/>')
        made.append(f'<text class="end" x="{LEFT - 16}" y="{y + ROW // 2 + 4}">{escape(short(title))}</text>')
    for at, (name, view) in enumerate(views.items()):
        made += column(name, view, order, Panel(LEFT + (PANEL + GAP) * at, low, high), ticks)
    made.append(f'<text class="faint" x="20" y="{height - 8}">medians; lines are 95 % intervals; logarithmic scale</text>')
    body = "\n".join(made)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Wall time of fragment-runc and runc beside crun"><style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def short(title):
    return title if len(title) <= 58 else title[:57].rsplit(" ", 1)[0] + " …"
