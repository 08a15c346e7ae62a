"""Data sheets of the environments, made from the specs, the tasks and the environment's own words."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from envs.episodes import EpisodeConfig
from envs.learning_system import LearningSystemVectorEnv, spaces
from envs.registration import ENVIRONMENTS
from envs.simulator.incidents import MOST_STRENGTH, IncidentKind
from envs.spec import RESOURCES, Knob, Role, Slo, SystemSpec
from envs.task import MOVES, Task
from envs.units import number, quantity, unit_of
from telemetry.metrics import MetricSpec, Scale

COMMAND = "trimtab docs"
"""What writes the page; it says so itself."""
EXAMPLE = """```python
env = gymnasium.make("envs.registration:trimtab/Allocation-v1", render_mode="rgb_array")
batch = gymnasium.make_vec("trimtab/Allocation-v1", num_envs=1024, vectorization_mode="vector_entry_point")
```"""
RESOURCE_UNITS = dict(zip(RESOURCES, ("core", "GiB", "MB/s storage", "MB/s network"), strict=True))


def write(path: str | Path) -> None:
    """Write the page with the sheet of every registered environment."""
    Path(path).write_text(page(), encoding="utf-8")


def page() -> str:
    """Markdown: the sheet of every registered environment, and what they have in common."""
    sheets = [datasheet(SystemSpec.load(made["spec"]), made["task"]) for made in ENVIRONMENTS.values()]
    rows = [[f"[`{name}`](#{_anchor(name)})", made["task"], made["spec"]] for name, made in ENVIRONMENTS.items()]
    parts = [
        "# Environments",
        f"Written by `{COMMAND}` from the specs; a test compares. Importing `envs.registration` registers them:",
        EXAMPLE,
        _table(["id", "task", "spec"], rows),
        "## Options",
        "Keywords of every environment, single or batched:",
        _table(["option", "default", "meaning"], _options()),
        "## Incidents",
        "Injected with `env.episodes.plant.inject(Incident(...))`, or at random with an option above:",
        _table(["kind", "what its strength means", "most"], _incidents()),
        *sheets,
    ]
    return "\n\n".join(parts) + "\n"


def datasheet(spec: SystemSpec, role: Role | str) -> str:
    """Markdown: all that a user of the environment must know.

    Args:
        spec: of the system.
        role: `allocation`, `tuning` or `joint`.

    Raises:
        ValueError: another role, or one that the spec has no knob for.
    """
    task, said = Task(spec, role), _sections(LearningSystemVectorEnv)
    ids = [name for name, made in ENVIRONMENTS.items() if made == {"task": task.name, "spec": spec.name}]
    parts = [
        f"## {ids[0] if ids else f'{spec.name}, {task.name}'}",
        _table(["", ""], _summary(task)),
        "### Observation",
        _table(["#", "label", "range", "natural range", "unit", "meaning"], _observation(task)),
        "### Action",
        _actions_said(task),
        _table(["#", "knob", "range", "unit", "largest step", "default", "meaning"], _actions(task)),
        _others_said(task),
        "### Reward",
        said["Reward"],
        f"`violation_penalty` is {spec.violation_penalty:g}, `change_penalty` {spec.change_penalty:g}.",
        _table(["workload", "useful work", "counts up to", "value"], _workloads(spec)),
        _table(["reserved", "by", "price"], _prices(spec)),
        "### Objective vector",
        _table(["#", "objective", "meaning"], _objectives(task)),
        "### SLOs and constraint cost",
        "The constraint cost of a period is the weighted share of the SLOs that are broken, from 0 to 1; a broken one "
        "counts half, and up to whole as it goes to twice its bound.",
        _table(["SLO", "holds while", "weight", "meaning"], [_slo(spec, slo) for slo in spec.slos]),
        *(f"### {title}\n\n{said[title]}" for title in ("Starting state", "Episode end", "Seeds", "Version history")),
    ]
    return "\n\n".join(part for part in parts if part)


def _summary(task: Task) -> list[list[str]]:
    spec, (observed, _) = task.spec, spaces(task)
    hosts = f"a pool of hosts (`{spec.hosts_knob}`), each" if spec.hosts_knob is not None else "one host"
    capacities = (
        (spec.cores, "cores", ""),
        (spec.memory_bytes, "bytes", " of memory"),
        (spec.storage_bytes_per_second, "bytes/s", " of storage"),
        (spec.network_bytes_per_second, "bytes/s", " of network"),
    )
    limits = [f"{quantity(size, unit)}{what}" for size, unit, what in capacities if size is not None]
    return [
        ["spec, task", f"`{spec.name}`, `{task.name}`"],
        ["system", f"{', '.join(spec.workloads)} on {hosts} with {', '.join(limits)} to hand out"],
        ["observation", f"`Box({observed.shape}, float32)`"],
        ["action", f"`Box(-1, 1, ({task.n_action},), float32)`, or `MultiDiscrete([{len(MOVES)}] * {task.n_action})`"],
        ["control period", f"{spec.control_period_seconds:g} s; {spec.window_periods} periods are a window"],
        ["latency deadline", quantity(spec.latency_slo_seconds, "seconds")],
        ["fingerprint", f"`{spec.fingerprint}`: a policy made for another one is refused"],
    ]


def _observation(task: Task) -> list[list[str]]:
    """A row for each entry; trends, which repeat the metrics, in one."""
    box, _ = spaces(task)
    trends = [i for i, label in enumerate(task.labels) if label.startswith("trend/")]
    rows = []
    for i, label in enumerate(task.labels):
        if i in trends[1:]:
            continue
        bounds = f"[{box.low[i]:g}, {box.high[i]:g}]"
        if i in trends:
            rows.append([f"{i}–{trends[-1]}", "`trend/<metric>`", bounds, "", "", _meaning(task, label)[-1]])
        else:
            rows.append([str(i), f"`{label}`", bounds, *_meaning(task, label)])
    return rows


def _meaning(task: Task, label: str) -> list[str]:
    """Natural range, unit and meaning of an entry."""
    part, name = label.split("/", 1)
    spec = task.spec
    if part == "now":
        metric = task.catalogue[name]
        return [_span(metric), unit_of(name), metric.help]
    if part == "setting":
        knob = spec.knobs[spec.knob_index(name)]
        return [_span(knob), knob.unit, f"in force: {knob.help}"]
    if part == "headroom":
        slo = next(slo for slo in spec.slos if slo.name == name)
        return ["", "ratio", f"distance to {_bound(slo)}, relative to the bound; positive while it holds"]
    if part == "forecast":
        metric_name, lead = name.split("/")
        return [_span(task.catalogue[metric_name]), unit_of(metric_name), f"expected {lead} ahead, from the past alone"]
    if part in ("upper", "shortage"):
        metric_name, lead = name.split("/")
        words = (
            "90 % quantile of the demand {} ahead"
            if part == "upper"
            else "chance p that demand {} ahead exceeds what the grant can do, as 2 p - 1"
        )
        return ["", unit_of(metric_name) if part == "upper" else "", words.format(lead)]
    if part == "weight":
        what = "violation penalty p, as p / (p + 4)" if name == "slo" else f"share of {name} in the value of all work"
        return ["", "", f"objective in force: {what}"]
    return ["", "", WORDS[part].format(name=name, periods=spec.window_periods)]


WORDS = {
    "trend": "the same metrics, in the same order: last reading minus the mean of the last {periods}, scaled",
    "day": "{name} of the time of day; 0 where it is not known",
}
"""What parts of an observation mean whose entries are all alike."""


def _actions_said(task: Task) -> str:
    moves = ", ".join(f"{move:+g}" if move else "0" for move in MOVES)
    return (
        "The wanted value of each knob: -1 is the low end of its range, 1 the high end. Incremental actions choose "
        f"among {moves} of a largest step. A knob moves by at most its largest step per period, and not at all by less "
        f"than {100 * task.spec.dead_band / 2:g} % of its range; grants that exceed the host together are shrunk. What "
        'kept a knob from its wanted value stands in `info["clipped"]`.'
    )


def _actions(task: Task) -> list[list[str]]:
    rows = []
    for i, index in enumerate(task.knobs):
        knob = task.spec.knobs[index]
        step = f"{100 * knob.max_step / 2:g} % of the range"
        rows.append([str(i), f"`{knob.name}`", _span(knob), knob.unit, step, f"{knob.default:g}", knob.help])
    return rows


def _others_said(task: Task) -> str:
    others = [f"`{knob.name}`" for i, knob in enumerate(task.spec.knobs) if i not in task.knobs]
    return f"Set by a partner policy, or left alone: {', '.join(others)}." if others else ""


def _workloads(spec: SystemSpec) -> list[list[str]]:
    return [
        [name, f"`{o.done}` / `{o.wanted}`", f"{o.catch_up:g}", f"{o.value:g}"] for name, o in spec.workloads.items()
    ]


def _prices(spec: SystemSpec) -> list[list[str]]:
    rows = []
    for resource, kind in zip(RESOURCES, ("cpu", "memory", "storage", "network"), strict=True):
        knobs = [getattr(objective, f"{kind}_knob") for objective in spec.workloads.values()]
        by = ", ".join(f"`{knob}`" for knob in knobs if knob is not None) or "what is used"
        if spec.hosts_knob is not None and kind in ("cpu", "memory"):
            by = f"`{spec.hosts_knob}`: all of each host"
        rows.append([kind, by, f"{getattr(spec.prices, resource):g} per {RESOURCE_UNITS[resource]}"])
    return rows


def _objectives(task: Task) -> list[list[str]]:
    words = {
        "resources": "minus the price of what is reserved; -1 is the default's",
        "slo": "minus the constraint cost",
    }
    names = task.objective.objective_names
    return [
        [str(i), f"`{name}`", words.get(name, f"useful work of {name}, of what was wanted")]
        for i, name in enumerate(names)
    ]


def _slo(spec: SystemSpec, slo: Slo) -> list[str]:
    return [slo.name, _bound(slo), f"{slo.weight:g}", spec.catalogue[slo.metric].help]


def _bound(slo: Slo) -> str:
    sign, bound = ("≤", slo.at_most) if slo.at_most is not None else ("≥", slo.at_least)
    return f"`{slo.metric}` {sign} {bound:g}"


def _span(of: MetricSpec | Knob) -> str:
    low, high = (
        (number(of.low), number(of.high)) if max(abs(of.low), of.high) >= 1e4 else (f"{of.low:g}", f"{of.high:g}")
    )
    return f"{low} to {high}" + (", log" if of.scale is Scale.LOG else "")


def _options() -> list[list[str]]:
    said = _attribute_docs(EpisodeConfig)
    return [[f"`{field.name}`", f"`{field.default!r}`", said.get(field.name, "")] for field in fields(EpisodeConfig)]


def _incidents() -> list[list[str]]:
    said = _attribute_docs(IncidentKind)
    return [[f"`{kind}`", said[kind.name], f"{MOST_STRENGTH[kind]:g}"] for kind in IncidentKind]


def _attribute_docs(of: type) -> dict[str, str]:
    """The strings that stand below the fields of a class, by field."""
    body = ast.parse(textwrap.dedent(inspect.getsource(of))).body[0].body  # type: ignore[attr-defined]
    return {
        ast.unparse(field.target if isinstance(field, ast.AnnAssign) else field.targets[0]): _text(said)
        for field, said in pairwise(body)
        if isinstance(field, ast.AnnAssign | ast.Assign) and isinstance(said, ast.Expr)
    }


def _text(expression: ast.Expr) -> str:
    return " ".join(str(ast.literal_eval(expression.value)).split())


def _sections(of: type) -> dict[str, str]:
    """The sections of a class docstring, by title."""
    parts = inspect.cleandoc(of.__doc__ or "").split("\n## ")[1:]
    return {title.strip(): _listed(text.strip()) for title, _, text in (part.partition("\n") for part in parts)}


def _listed(text: str) -> str:
    """Versions as a list: in Markdown, lines alone would run together."""
    return re.sub(r"^(v\d+: )", r"- \1", text, flags=re.MULTILINE)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower() if c.isalnum() or c in "-_")
