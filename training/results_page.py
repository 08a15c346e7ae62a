"""The README's table of results, written from saved evaluations so that no figure there is typed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- evaluate:begin -->", "<!-- evaluate:end -->"
GENERATED, REAL = "generated.json", "real.json"
DIGITS = 5
"""Significant digits that are saved; intervals are wider than that by far."""
KEPT_OF_A_ROW = ("policy", "trace", "efficiency", "efficiency_ci", "slo_attainment", "reserved", "used")
"""Of every trace; the rest is in `policies`, over all traces."""
NAMES = {
    "static": "static default", "best_static": "best static", "threshold": "threshold", "hpa": "HPA (15 s, 300 s)",
    "hpa-fast": "HPA, fast (1 s, 20 s)", "vpa": "VPA", "autopilot": "Autopilot", "captain": "Captain",
    "parties": "PARTIES", "heracles": "Heracles", "aimd": "AIMD", "aimd+batch": "AIMD on cores and batch size",
    "gradient2": "Gradient2", "pollux": "Pollux batch size", "random-search": "random search",
    "one-plus-one-es": "(1+1)-ES", "cma-es": "CMA-ES", "ppo-allocation": "PPO, allocation only",
    "ppo-tuning": "PPO, tuning only", "ppo": "**PPO, both**", "ppo-joint": "PPO, one policy", "oracle": "*oracle*",
}  # fmt: skip


class ResultsError(ValueError):
    """Saved results, or a README, that cannot be used; one line."""


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write an evaluation in short: figures with `DIGITS` digits, and of every trace what `KEPT_OF_A_ROW` names."""
    short = dict(result) | {"rows": [{key: row[key] for key in KEPT_OF_A_ROW} for row in result["rows"]]}
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(_rounded(row)) for row in short["rows"])  # a line for each: differences stay readable
    rest = json.dumps(_rounded({key: part for key, part in short.items() if key != "rows"}), indent=1)
    path.write_text(f'{rest[:-2]},\n "rows": [\n{rows}\n]\n}}\n')


def fill_file(readme: Path, folder: Path) -> None:
    """Write the table of `folder`'s results into a README.

    Raises:
        ResultsError: a file is missing, holds no evaluation, or the README has no markers.
    """
    try:
        text = readme.read_text()
        generated, real = (json.loads((folder / name).read_text()) for name in (GENERATED, REAL))
    except (OSError, json.JSONDecodeError) as error:
        raise ResultsError(f"cannot read results: {error}; write them with `trimtab evaluate --save`") from None
    readme.write_text(fill(text, generated, real))


def fill(readme_text: str, generated: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """A README with the table between its markers made anew.

    Args:
        readme_text: holds `BEGIN` and, after it, `END`.
        generated: saved result on the generated test days.
        real: saved result on real traces.

    Raises:
        ResultsError: the markers are missing.
    """
    before, begin, rest = readme_text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ResultsError(f"the file needs the lines {BEGIN} and {END}, between which the table is written")
    return f"{before}{BEGIN}\n{table(generated, real)}\n\n{verdict(generated, real)}\n{END}{after}"


def table(generated: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """A Markdown table of all policies on both."""
    traces = len({row["trace"] for row in real["rows"]})
    head = [
        "policy", "generated days: efficiency", "SLOs met", "cores", "changes",
        f"{traces} real traces: efficiency", "SLOs met", "cores", "changes", "obtained in",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    found = {row["policy"]: row for row in real["policies"]}
    for row in generated["policies"]:
        name, spent = row["policy"], row["obtained_seconds"]
        cells = [NAMES.get(name, name), *_cells(row), *(_cells(found[name]) if name in found else [""] * 4)]
        lines.append("| " + " | ".join([*cells, "" if spent is None else f"{spent:.0f} s"]) + " |")
    return "\n".join(lines)


def verdict(generated: Mapping[str, Any], real: Mapping[str, Any]) -> str:
    """The comparisons that count, as a list."""
    lines = []
    for key, text in (
        ("vs_best_heuristic", "the best tuned heuristic"),
        (
            "vs_best_by_efficiency_at_slo",
            "the most efficient reference that holds the SLOs as often as the best static",
        ),
        ("vs_best_static", "the best static setting"),
    ):
        parts = [
            f"{_gain(result['summary'][key])} on {where}"
            for result, where in ((generated, "generated days"), (real, "real traces"))
            if key in result["summary"]
        ]
        if parts:
            lines.append(f"- Efficiency against {text}: {'; '.join(parts)}.")
    shares = [
        f"{_share(result['headroom'])} on {where}"
        for result, where in ((generated, "generated days"), (real, "real traces"))
        if result.get("headroom")
    ]
    if shares:
        lines.append(f"- Of the oracle's lead over the best heuristic, in reward: {'; '.join(shares)}.")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    bold = "**" if row["policy"] == "ppo" else ""
    return [
        f"{bold}{row['efficiency']:.2f}{bold}",
        f"{100 * row['slo_attainment']:.1f} %",
        f"{row['reserved_by_resource']['cpu_cores']:.2f}",
        f"{row['changes']:.0f}",
    ]


def _gain(line: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in line["efficiency_gain_ci"])
    gain, points = 100 * line["efficiency_gain"], 100 * line["slo_attainment_delta"]
    counts = "" if line["counts"] else ", so that it does not count"
    name = NAMES.get(line["name"], line["name"])
    return f"{gain:+.1f} % ({low:.1f} to {high:.1f}) over {name}, SLOs {points:+.1f} points{counts}"


def _share(headroom: Mapping[str, Any]) -> str:
    reward = headroom["reward"]
    if reward["share"] is None:
        return f"no lead over {NAMES.get(headroom['over'], headroom['over'])}"
    low, high = (100 * end for end in reward["share_ci"])
    return f"{100 * reward['share']:.0f} % ({low:.0f} to {high:.0f})"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
