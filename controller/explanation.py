"""Why a change was made: what was seen, what was proposed, what was refused, what came of it, and how to undo it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.predict import PERIODS, NotPredicted, predicted_scores
from envs.objective import Objective
from envs.spec import SystemSpec

Record = Mapping[str, Any]


@dataclass
class Story:
    """What a journal holds about one change.

    Attributes:
        id: of the change.
        spec: as the run had it; None where the journal does not tell.
        advised: record of the period in which it was advised.
        opened: record of the period in which it was made.
        ended: record of the period of its verdict.
        verdict: of it.
        notes: what was said of it in between.
    """

    id: str
    spec: SystemSpec | None = None
    advised: Record | None = None
    opened: Record | None = None
    ended: Record | None = None
    verdict: Record | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def change(self) -> Record:
        """Its workload, role, policy and knobs."""
        record, key = (self.opened, "opened") if self.opened is not None else (self.advised, "advised")
        found: list[Record] = [] if record is None else record[key]
        return next(change for change in found if change["id"] == self.id)


def story_of(records: Iterable[Record], id: str) -> Story:
    """What the records of a journal tell about a change.

    Raises:
        KeyError: no such change; the message names the newest ones.
    """
    story, spec = Story(id), None
    known: list[str] = []
    for record in records:
        if "spec" in record and "fingerprint" in record:
            spec = record["spec"]
        for key in ("advised", "opened"):
            ids = [change["id"] for change in record.get(key, [])]
            known += [other for other in ids if other not in known[-20:]]
            if id in ids:
                setattr(story, key, record)
                story.spec = None if spec is None else SystemSpec.model_validate(spec)
        for verdict in record.get("verdicts", []):
            if verdict["id"] == id:
                story.ended, story.verdict = record, verdict
        said = [f"{reason['detail']}, at {_time(record)}" for reason in record.get("reasons", [])
                if reason["reason"] == "advice" and f" {id} " in f" {reason['detail']} "]  # fmt: skip
        story.notes += said
    if story.advised is None and story.opened is None:
        raise KeyError(f"no optimization {id!r} in the journal; the newest are: {', '.join(known[-5:]) or 'none'}")
    return story


def explain(records: Iterable[Record], id: str, state_dir: str = "runs/control") -> str:
    """Plain text of some lines.

    Args:
        records: of a journal, oldest first.
        id: of a change that was made or advised.
        state_dir: for the command that undoes it.

    Raises:
        KeyError: see `story_of`.
    """
    story = story_of(records, id)
    record = story.advised or story.opened or {}  # an approved change was decided on when it was advised
    made = story.opened or record
    change = story.change
    lines = [f"{id}: {change['role']} of {change['workload']}"]
    lines += [f"  {name}: {old:g} -> {new:g}" for name, (old, new) in change["knobs"].items()]
    sections = [
        ("trigger", _trigger(story, record)),
        ("seen", _seen(story, record)),
        ("candidates", _candidates(story, record)),
        ("refused", [f"{r['reason']}: {r['detail']}" for r in made.get("reasons", [])] or ["nothing"]),
        ("applied", _applied(story)),
        ("verdict", _verdict(story)),
        ("undo", _undo(story, state_dir)),
    ]
    for title, content in sections:
        lines += [f"{title if number == 0 else '':11} {line}" for number, line in enumerate(content)]
    return "\n".join(lines)


def _trigger(story: Story, record: Record) -> list[str]:
    change = story.change
    first = f"{change['policy'] or 'a policy'} wanted it at {_time(record)}"
    if story.opened is not None:
        waited = change["applied_at"] - change["seen_at"]
        policy = change["policy"] or "a policy"
        first = f"{policy} first wanted such a change {waited:.3f} s before it was in force"
    broken = _broken(story.spec, record)
    if broken is None:
        return [first]
    return [first, f"SLOs broken then: {', '.join(broken)}" if broken else "every SLO held: an opportunity, no repair"]


def _broken(spec: SystemSpec | None, record: Record) -> list[str] | None:
    values = _values(spec, record)
    if spec is None or values is None:
        return None
    hit = Objective(spec).breaches(values) > 0
    return [slo.name for slo, broken in zip(spec.slos, hit, strict=True) if broken]


def _seen(story: Story, record: Record) -> list[str]:
    figures = [f"{name} {_figure(value)}" for name, value in record.get("snapshot", {}).items()]
    return _wrapped(figures) or ["not recorded"]


def _candidates(story: Story, record: Record) -> list[str]:
    """Each proposal of the period, with what the simulator expects of it against holding."""
    named = [
        (f"{role}, {proposal['policy']}: {_knobs(proposal['knobs'])}", proposal["knobs"])
        for role, proposal in record.get("proposals", {}).items()
    ]
    made = story.change["knobs"]
    named.append((f"the change itself: {_knobs(made)}", made))
    try:
        effects = [f"{effect:+.1%}" for effect in _effects(story.spec, record, [knobs for _, knobs in named])]
        how = f"predicted against holding, by the calibrated simulator, next {PERIODS} periods at that load, all knobs"
    except NotPredicted as error:
        effects, how = ["not predicted"] * len(named), f"not predicted: {error}"
    return [f"({how})", *(f"{effect:>8}  {text}" for effect, (text, _) in zip(effects, named, strict=True))]


def _effects(spec: SystemSpec | None, record: Record, changes: list[Mapping[str, Any]]) -> list[float]:
    """Relative change of the score by each of the changes, against holding."""
    values = _values(spec, record)
    if spec is None or values is None:
        raise NotPredicted("the journal does not hold the period's readings")
    before = np.array(record["inputs"]["before"], dtype=float)
    settings = [before]
    for knobs in changes:
        settings.append(before.copy())
        for name, (_, new) in knobs.items():
            settings[-1][spec.knob_index(name)] = new
    scores = predicted_scores(spec, values, before, settings)
    if not np.isfinite(scores).all():
        raise NotPredicted("the simulator gives no number for it")
    return [float((score - scores[0]) / max(abs(scores[0]), 1e-9)) for score in scores[1:]]


def _values(spec: SystemSpec | None, record: Record) -> np.ndarray | None:
    """(n_metrics,) that were read in the period."""
    recorded = record.get("inputs", {}).get("values")
    if spec is None or recorded is None or len(recorded) != len(spec.metrics):
        return None
    return np.array(recorded, dtype=float)


def _applied(story: Story) -> list[str]:
    if story.opened is None:
        return [*story.notes, "never made"] if story.notes else ["not yet: it waits, or waited, for an operator"]
    short = [r["detail"] for r in story.opened.get("reasons", []) if r["reason"] == "actuator"]
    told = f"at {_time(story.opened)}, read back" + (f"; not all is in force: {'; '.join(short)}" if short else "")
    return [*([f"advised at {_time(story.advised)}, approved"] if story.advised is not None else []), told]


def _verdict(story: Story) -> list[str]:
    if story.verdict is None:
        return ["none yet" if story.opened is not None else "none"]
    gain = story.verdict["gain"]
    measured = "not measured" if gain is None else f"score {gain:+.1%}, measured"
    return [f"{story.verdict['outcome']} at {_time(story.ended or {})}: {story.verdict['reason']} ({measured})"]


def _undo(story: Story, state_dir: str) -> list[str]:
    where = f"--state-dir {state_dir}"
    if story.opened is None:
        return ["nothing was changed"]
    if story.verdict is None:
        return [f"trimtab control rollback {story.id} {where}"]
    if story.verdict["outcome"] in ("rolled_back", "undone"):
        return ["it was taken back already"]
    pins = [f"trimtab control pin {name}={old:g} {where}" for name, (old, _) in story.change["knobs"].items()]
    return [*pins, f"or everything to what was found at start: trimtab control revert {where}"]


def _knobs(knobs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {old:g} -> {new:g}" for name, (old, new) in knobs.items()) or "as it is"


def _time(record: Record | None) -> str:
    return "?" if record is None else str(record.get("at", "?"))


def _figure(value: float | None) -> str:
    return "missing" if value is None else format(value, ".4g")


def _wrapped(parts: list[str], each: int = 3) -> list[str]:
    return [", ".join(parts[i : i + each]) for i in range(0, len(parts), each)]
