"""What a run found, for machines (JSON) and people (Markdown)."""

import json
import statistics


def write(stem, title, lines):
    """STEM.json and STEM.md; prints the summary."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    summary = summarised(lines)
    stem.with_suffix(".json").write_text(json.dumps({"summary": summary, "lines": lines}, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(title, summary, lines))
    print("\n" + "\n".join(f"{name}: {value}" for name, value in summary.items()))


def summarised(lines):
    ran = [line for line in lines if "failure" in line]
    passed = [line for line in ran if not line["failure"]]
    ratios = sorted(line["ratio"] for line in passed if line.get("ratio") is not None)
    sizes = [line["composed"] for line in passed if line.get("composed")]
    summary = {"cases": len(lines)}
    if any("reference" in line for line in lines):
        summary["right in the reference"] = sum(1 for line in lines if "reference" in line and not line["reference"])
    if ran:
        summary["pass on the bare bundle"] = f"{len(passed)} of {len(ran)} ({100 * len(passed) / len(ran):.1f} %)"
        if any("full" in line for line in passed):
            summary["of these equal to a root with the package alone"] = sum(1 for line in passed if "full" in line)
        summary["components without a reason of their own"] = ", ".join(sorted({name for line in passed for name in line.get("unasked", [])})) or "none"
    if ratios:
        summary["median of composed bytes to Depends closure"] = f"{statistics.median(ratios):.2f}"
        summary["ratio above 1.0"] = f"{sum(1 for one in ratios if one > 1)} of {len(ratios)}"
        summary["median composed"] = size(statistics.median(sizes))
    return summary


def size(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return None


def markdown(title, summary, lines):
    out = [f"# {title}", ""] + [f"- {name}: {value}" for name, value in summary.items()]
    failed = [line for line in lines if line.get("failure") or line.get("reference")]
    if failed:
        out += ["", "## Failures", "", "| case | reason | looked for in vain |", "|---|---|---|"]
        for line in failed:
            reason = line.get("failure") or f"reference: {line['reference']}"
            missing = ", ".join(f"{path} ({owner})" for path, owner in list(line.get("missing", {}).items())[:4])
            out.append(f"| {line['id']} | {cell(reason)} | {cell(missing)} |")
    out += ["", "## All", "", "| case | kind | result | composed | Depends closure | ratio | components |", "|---|---|---|---|---|---|---|"]
    for line in lines:
        result = "FAILED" if line.get("failure") or line.get("reference") else "ok"
        figures = [size(line[name]) if line.get(name) else "" for name in ("composed", "depends")]
        names = line.get("components", [])
        shown = " ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        ratio = line.get("ratio")
        out.append(f"| {line['category']}/{line['id']} | {line['kind']} | {result} | {' | '.join(figures)} | {'' if ratio is None else ratio} | {shown} |")
    return "\n".join(out) + "\n"


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")[:300]
