"""The configuration file of the controller: TOML, checked as a whole, taken over between two periods or not at all."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from controller.config import ControllerConfig
from envs.fields import FieldError, typed
from envs.spec import SystemSpec

MAX_BYTES = 1 << 20
"""A configuration has a few hundred bytes; anything near the limit is another file."""
MOST = 1e6
"""Largest number that is taken: eleven days in seconds, and no window that memory could not hold."""
MAY_BE_ZERO = frozenset({
    "settle_periods", "cooldown_seconds", "reversals_per_hour", "reversal_burst", "margin", "suspicious_share",
    "load_tolerance", "hard_breach", "backoff_seconds", "longest_backoff_seconds", "yield_seconds", "holdout_share",
    "rollbacks_per_hour", "least_slo_attainment", "least_attainment_seconds", "bounds", "chance", "alarm",
    "takeover_seconds",
})  # fmt: skip
"""Where 0 has a meaning. Elsewhere it is refused: a window of no period has no mean."""


class ConfigError(ValueError):
    """A configuration that cannot be used; one line."""


def load_config(path: str | Path, spec: SystemSpec) -> ControllerConfig:
    """Read and check a whole file.

    Args:
        path: TOML; keys as in `ControllerConfig`, tables `[shield]`, `[trial]`, `[bounds]`, `[modes]` and others.
        spec: whose knobs and workloads are named there.

    Raises:
        ConfigError: unreadable, no TOML, unknown key (the known ones are named), wrong type, out of range.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {str(path)!r}: {error.strerror or error}") from None
    try:
        return parse_config(content, spec)
    except ConfigError as error:
        raise ConfigError(f"configuration {str(path)!r}: {error}") from None


def is_spec(path: Path) -> bool:
    """Whether a file is a SystemSpec rather than a configuration; False for what is no TOML."""
    try:
        plain = tomllib.loads(path.read_bytes()[:MAX_BYTES].decode())
    except (OSError, ValueError, RecursionError):
        return False
    return bool({"extends", "metrics", "knobs", "workloads"} & set(plain))


def parse_config(content: bytes, spec: SystemSpec) -> ControllerConfig:
    """The configuration of a file's content.

    Raises:
        ConfigError: see `load_config`.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES} bytes; a configuration is much smaller")
    try:
        plain = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise ConfigError(f"no valid TOML: {str(error).partition(chr(10))[0]}") from None
    return _checked(plain, spec)


def _checked(plain: Mapping[str, Any], spec: SystemSpec) -> ControllerConfig:
    """The configuration of a file's tables; what is not in them has its default."""
    config: ControllerConfig = _fill(ControllerConfig, plain, "")
    _check_bounds(config.bounds, spec)
    for workload in config.modes:
        if workload not in spec.workloads:
            raise ConfigError(f"modes of unknown workload {workload!r}; known are: {', '.join(spec.workloads)}")
    trial = config.trial
    if trial.least_baseline_periods > trial.baseline_periods:
        given = f"{trial.least_baseline_periods}, more than baseline_periods ({trial.baseline_periods})"
        raise ConfigError(f"trial.least_baseline_periods is {given}")
    if trial.least_baseline_periods < 2:
        raise ConfigError("trial.least_baseline_periods is 1; at least 2, or the baseline has no spread")
    shares = {f"trial.{name}": getattr(trial, name) for name in ("harm_alpha", "keep_alpha", "suspicious_share")}
    shares |= {"trial.burn.budget": trial.burn.budget, "competence.alpha": config.competence.alpha}
    shares["recoverability.quantile"] = config.recoverability.quantile
    for name, share in {**shares, "least_slo_attainment": config.least_slo_attainment}.items():
        if share >= 1.0:
            raise ConfigError(f"{name} is {share:g}; it is a share, below 1")
    if config.competence.holdout_share > 0.5:
        raise ConfigError(f"competence.holdout_share is {config.competence.holdout_share:g}; allowed is 0 to 0.5")
    if config.canary_step > 1.0:
        raise ConfigError(f"canary_step is {config.canary_step:g}; allowed is above 0 to 1")
    return config


def _fill(kind: type[Any], plain: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a table, its tables likewise."""
    hints = get_type_hints(kind, include_extras=True)
    known = [field.name for field in dataclasses.fields(kind)]
    values = {}
    for key, value in plain.items():
        name = f"{where}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"unknown key {name!r}; {hint}known are: {', '.join(known)}")
        if dataclasses.is_dataclass(hints[key]) and isinstance(hints[key], type):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} is a table, given {value!r}")
            values[key] = _fill(hints[key], value, f"{name}.")
        else:
            values[key] = _typed(name, key, hints[key], value)
    return kind(**values)


def _typed(name: str, key: str, hint: Any, value: Any) -> Any:
    """A value of the type that the field has, no number of it out of range."""
    try:
        found = typed(hint, value, name)
    except FieldError as error:
        raise ConfigError(str(error)) from None
    for number in _numbers(found):
        if not 0 <= number <= MOST or (number == 0 and key not in MAY_BE_ZERO):
            least = "from 0" if key in MAY_BE_ZERO else "above 0"
            given = f"{number:g}" if isinstance(number, float) else reprlib.repr(number)
            raise ConfigError(f"{name} is {given}; allowed is {least} to {MOST:g}")
    return found


def _numbers(value: Any) -> list[float]:
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in _numbers(item)]
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _check_bounds(bounds: Mapping[str, tuple[float, float]], spec: SystemSpec) -> None:
    knobs = {knob.name: knob for knob in spec.knobs}
    for name, (low, high) in bounds.items():
        if name not in knobs:
            close = difflib.get_close_matches(name, knobs, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ConfigError(f"bounds of unknown knob {name!r}; {hint}known are: {', '.join(knobs)}")
        knob = knobs[name]
        if not knob.low <= low <= high <= knob.high:
            raise ConfigError(
                f"bounds of {name} are [{low:g}, {high:g}]; "
                f"they may only narrow the spec's [{knob.low:g}, {knob.high:g}]"
            )
        if knob.integer and np.ceil(low) > np.floor(high):
            raise ConfigError(f"bounds of {name} are [{low:g}, {high:g}], with no whole number in them")
    least = sum(bounds.get(o.cpu_knob, (knobs[o.cpu_knob].low,))[0] for o in spec.workloads.values())
    if least > spec.cores:
        raise ConfigError(f"the low bounds of all CPU knobs sum to {least:g}, more than the {spec.cores:g} cores")


class ConfigFile:
    """A configuration file that is watched: the newest content that is whole and valid is in force.

    Args:
        path: of the file.
        spec: see `load_config`.

    Raises:
        ConfigError: it is not valid at the start, when there is no good one to keep.
    """

    def __init__(self, path: str | Path, spec: SystemSpec) -> None:
        self.path, self.spec = Path(path), spec
        self._seen = self._stamp()
        self.config = load_config(path, spec)
        """In force: the last good one."""
        self.problem: str | None = None
        """Why the newest content is not in force; None if it is."""
        self._asked = False

    def ask(self) -> None:
        """Read it again at the next `poll`, changed or not (SIGHUP)."""
        self._asked = True

    def poll(self) -> ControllerConfig | None:
        """Read the file if it has changed; the new configuration if it is valid and another one, else None."""
        stamp = self._stamp()
        if stamp == self._seen and not self._asked:
            return None
        self._seen, self._asked = stamp, False
        try:
            found = load_config(self.path, self.spec)
        except ConfigError as error:
            self.problem = f"{error}; the last good configuration stays in force"
            return None
        self.problem = None
        if found == self.config:
            return None
        self.config = found
        return found

    def _stamp(self) -> tuple[int, ...]:
        """What changes with the file, before it is read: content that comes later is then seen as new."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
