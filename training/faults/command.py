"""`trimtab bench faults`: campaign, self-test, scoreboard, live run; what it prints, and what it writes into docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.faults.campaign import PAIRS, Campaign, CampaignError, Outcome, as_json, quiet, run_campaign
from training.faults.hazards import HAZARDS, faults_of
from training.faults.monitors import INVARIANTS
from training.faults.mutants import MUTANTS, try_mutant
from training.faults.pairs import JOINT
from training.faults.scoreboard import scoreboard, sources, table

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FaultsRequest:
    """What the command was asked for.

    Attributes:
        episodes: simulated ones; 0 for none.
        seed: of the first.
        hazards: empty for all.
        fault: empty for all.
        self_test: try the mutants instead.
        live: folder of a run on the testbed; None for none.
        minutes: of that run.
        write: Markdown file whose marked parts are written anew; None for none.
        pairs: share of the episodes with a second fault, of another hazard.
    """

    episodes: int
    seed: int = 0
    hazards: tuple[str, ...] = ()
    fault: str = ""
    self_test: bool = False
    live: Path | None = None
    minutes: float = 30.0
    write: Path | None = None
    pairs: float = PAIRS

    @property
    def whole(self) -> bool:
        """Whether it is about all hazards, so that the scoreboard belongs to it."""
        return not self.hazards and not self.fault


def run_faults(request: FaultsRequest, on_progress: Progress) -> dict[str, Any]:
    """Do what was asked for.

    Returns:
        The stable keys `hazards`, `episodes`, `violations`, `worst_revert_seconds`, `scoreboard`, and `live`; or those
        of the self-test. `passed` says whether everything held.

    Raises:
        CampaignError: an unknown hazard or fault, or a file to write to that has no marks.
    """
    if request.self_test:
        return self_test(request.seed, on_progress)
    if request.write is not None:
        _parts(request.write.read_text(encoding="utf-8"), {"hazards": "", "invariants": "", "scoreboard": ""})
    campaign = Campaign(request.episodes, request.seed, request.hazards, fault=request.fault, pairs=request.pairs)
    outcome = run_campaign(campaign, on_progress=on_progress)
    result = as_json(outcome) | {"seed": request.seed, "scoreboard": [], "live": None}
    if request.whole and request.episodes:
        result["scoreboard"] = scoreboard(seed=request.seed, on_progress=on_progress)
    if request.live is not None:
        from training.faults.live import LiveCampaign, run_live_campaign

        with quiet():
            real = LiveCampaign(request.minutes, request.live, request.seed)
            result["live"] = run_live_campaign(real, on_progress)
    if request.write is not None:
        write_docs(request.write, outcome, result)
    problems = result["live"]["problems"] if result["live"] else []
    return result | {"passed": not outcome.violations and not problems}


def self_test(seed: int, on_progress: Progress) -> dict[str, Any]:
    """Whether the campaign finds each controller that is broken on purpose."""
    findings = []
    for number, mutant in enumerate(MUTANTS):
        on_progress(number, len(MUTANTS), mutant.title)
        found = try_mutant(mutant, seed=seed)
        findings.append({"mutant": mutant.title, "found": found.found, "violated": list(found.violated)})
    return {"mutants": findings, "passed": all(one["found"] for one in findings)}


def summary_lines(result: Mapping[str, Any]) -> list[str]:
    """The result for people."""
    if "mutants" in result:
        found = [f"{'found' if one['found'] else 'MISSED':7} {one['mutant']}" for one in result["mutants"]]
        return [*found, f"{sum(one['found'] for one in result['mutants'])} of {len(found)} broken controllers found"]
    lines = [
        f"{result['episodes']} episodes of {result['hazards']} hazards ({result['pairs']} of two faults at once), "
        f"{result['periods']} periods, {result['optimizations']} changes; "
        f"{result['violations']} violations of {result['invariants']} invariants",
        f"{result['deaths']} deaths of the controller, everything restored within {result['worst_revert_seconds']:g} s",
        *(f"VIOLATION {one['invariant']}: {one['detail']}\n  {one['reproduce']}" for one in result["violated"]),
    ]
    for row in result["scoreboard"]:
        cells = ", ".join(f"{name} {'pass' if cell['passed'] else 'FAIL'}" for name, cell in row["results"].items())
        lines.append(f"{row['hazard']} {row['title']}: {cells}")
    return lines + (live_lines(result["live"]) if result["live"] else [])


def live_lines(live: Mapping[str, Any]) -> list[str]:
    """The live run for people."""
    low, high = live["not_rolled_back_ratio_ci"]
    ratio = live["not_rolled_back_ratio"]
    mebibytes = live["resident_bytes_controller_and_warden"] / 2**20
    starts = live["controller_starts"]
    return [
        f"live: {live['seconds']:.0f} s, {len(live['faults'])} faults, the controller was started {starts} times",
        f"  availability {live['availability']:.3%} of {live['requests']:.0f} requests; "
        f"excluded as a component's own crash: {live['excluded']['failed']:.0f} of {live['excluded']['requests']:.0f}",
        f"  {live['optimizations']} optimizations, not rolled back "
        + ("none ended" if ratio is None else f"{ratio:.1%} ({low:.1%} to {high:.1%})"),
        f"  of {live['rolled_back']} rolled back, {live['rolled_back_near_faults']} ended in a fault or within 10 s "
        f"of its end, which is {live['time_near_faults_ratio']:.0%} of the time",
        f"  opportunity to applied, p99: {live['opportunity_to_applied_p99_seconds']:.2f} s",
        f"  own CPU {live['own_cpu_ratio']:.2%} of a core, {live['own_cpu_ratio_without_starts']:.2%} without starts; "
        f"controller and warden {mebibytes:.1f} MiB",
        f"  worst revert after kill -9: {live['worst_revert_seconds_killed']} s, after SIGSTOP: "
        f"{live['worst_revert_seconds_stopped']} s; journal replays: {live['journal']['equal']}",
        *(f"PROBLEM {problem}" for problem in live["problems"]),
    ]


def write_docs(path: Path, outcome: Outcome, result: Mapping[str, Any]) -> None:
    """Write the tables between their marks.

    Raises:
        CampaignError: the file has no such marks.
    """
    parts = {
        "hazards": _hazard_table(outcome, result),
        "invariants": _invariant_table(),
        "scoreboard": table(result["scoreboard"]) + "\n\n" + _source_list(),
    }
    path.write_text(_parts(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


def _parts(text: str, parts: Mapping[str, str]) -> str:
    for name, content in parts.items():
        marked = re.compile(rf"(<!-- faults:{name} -->\n).*?(<!-- faults:end -->)", re.DOTALL)
        if not marked.search(text):
            raise CampaignError(f"there is no '<!-- faults:{name} -->' ... '<!-- faults:end -->' to write between")
        text = marked.sub(lambda hit, content=content: f"{hit[1]}{content}\n{hit[2]}", text)  # type: ignore[misc]
    return text


def _hazard_table(outcome: Outcome, result: Mapping[str, Any]) -> str:
    lines = ["| hazard | faults | episodes | violations |", "|---|---|---|---|"]
    for hazard, title in HAZARDS.items():
        titles = "; ".join(one.title for one in faults_of(hazard))
        broken = sum(hazard in one.hazard.split(JOINT) for one in outcome.violations)
        lines.append(f"| {hazard} {title} | {titles} | {outcome.episodes[hazard]} | {broken} |")
    lines.append(
        f"\n{result['episodes']} episodes, {result['pairs']} of them of two faults at once, "
        f"{result['periods']} periods, {result['optimizations']} changes, {result['deaths']} deaths of the controller; "
        f"everything restored within {result['worst_revert_seconds']:g} s."
    )
    return "\n".join(lines)


def _invariant_table() -> str:
    lines = ["| invariant | clauses | holds when |", "|---|---|---|"]
    for one in INVARIANTS:
        meaning = (one.check.__doc__ or "").strip().partition("\n")[0]
        lines.append(f"| {one.name.replace('_', ' ')} | {', '.join(one.clauses)} | {meaning} |")
    return "\n".join(lines)


def _source_list() -> str:
    return "\n".join(f"- {name}: {source}" for name, source in sources().items())
