"""What was foretold and what was held then, hour by hour, in a file that is only appended to.

| line | holds |
|---|---|
| hour | `end` of it; `versions` of both models; by metric level, limit, and by target what `OPINIONS` said, or null |
| acted | `end`, and the metrics for which the controller acted on a forecast in the hour that begins then |

Each line is on the disk before anything else happens. One that a crash has torn is left out when it is read.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from telemetry.issues import DAY_HOURS, HOUR, TARGETS
from telemetry.options import finite

logger = logging.getLogger(__name__)

OPINIONS = ("model", "last_good", "table", "persistence")
PART_SECONDS = 14 * DAY_HOURS * HOUR
"""What one file spans; the one before it is kept as `FILE.1`. Default: twice the week that is scored."""


class LedgerError(RuntimeError):
    """A ledger that cannot be written; one line."""


@dataclass(frozen=True, eq=False)
class LedgerHour:
    """One hour.

    Attributes:
        end: of it, seconds since 1970.
        names: (n,) of the metrics.
        levels: (n,) see `hourly_levels`; negated for mirrored metrics, NaN where unknown.
        limits: (n,) likewise.
        said: (n, targets, opinions) probabilities at its end, in the orders of `TARGETS` and `OPINIONS`; NaN where
            nothing was said.
        versions: of the model and of the last good one; empty where there is none.
    """

    end: float
    names: tuple[str, ...]
    levels: np.ndarray
    limits: np.ndarray
    said: np.ndarray
    versions: tuple[str, str] = ("", "")

    def levels_of(self, names: tuple[str, ...]) -> np.ndarray:
        """Levels of other metrics, (len(names),), NaN for those that are not in it."""
        if names == self.names:
            return self.levels
        known = dict(zip(self.names, self.levels.tolist(), strict=True))
        return np.array([known.get(name, np.nan) for name in names])

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        rows = zip(self.names, self.levels.tolist(), self.limits.tolist(), self.said, strict=True)
        metrics = {n: [level, limit, _rounded(said)] for n, level, limit, said in rows}
        return {"end": self.end, "versions": list(self.versions), "metrics": finite(metrics)}

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> LedgerHour:
        """What `to_json` made; KeyError, TypeError or ValueError where it is something else."""
        rows = line["metrics"]
        nothing = [[None] * len(OPINIONS)] * len(TARGETS)
        said = np.array([row[2] or nothing for row in rows.values()], dtype=np.float64)
        figures = np.array([row[:2] for row in rows.values()], dtype=np.float64).reshape(-1, 2)
        model, good = line["versions"]
        shape = (len(rows), len(TARGETS), len(OPINIONS))
        levels, limits = figures.T
        return cls(float(line["end"]), tuple(rows), levels, limits, said.reshape(shape), (str(model), str(good)))


@dataclass(frozen=True)
class Acted:
    """Metrics for which the controller acted on a forecast in the hour from `end` on."""

    end: float
    names: tuple[str, ...]


class Ledger:
    """The file, locked while it is open.

    Args:
        path: of the file; made with its folder if missing.

    Raises:
        LedgerError: another program writes it.
        OSError: the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._begun = next((line.end for line in _lines_of(path)), None)
        self._descriptor = self._opened()
        if _torn(path):
            os.write(self._descriptor, b"\n")  # or the next line would be lost with the torn one

    def lines(self) -> Iterator[LedgerHour | Acted]:
        """What was written, oldest first."""
        yield from _lines_of(self._former)
        yield from _lines_of(self.path)

    def append(self, line: LedgerHour | Acted) -> None:
        """Write one line, through to the disk.

        Raises:
            OSError: the disk refuses.
        """
        if self._begun is not None and line.end - self._begun > PART_SECONDS and isinstance(line, LedgerHour):
            self.close()
            os.replace(self.path, self._former)
            self._descriptor, self._begun = self._opened(), None
        content = line.to_json() if isinstance(line, LedgerHour) else {"end": line.end, "acted": list(line.names)}
        packed = (json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n").encode()
        if os.write(self._descriptor, packed) != len(packed):
            os.write(self._descriptor, b"\n")
            raise OSError(f"{self.path}: the disk is full; a line was left out")
        os.fsync(self._descriptor)
        self._begun = line.end if self._begun is None else self._begun

    def close(self) -> None:
        """Close and unlock the file."""
        os.close(self._descriptor)

    @property
    def _former(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def _opened(self) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LedgerError(
                f"{self.path}: another `trimtab forecast --out` writes it; stop that one, or name another --out"
            ) from None
        return descriptor


def _torn(path: Path) -> bool:
    with path.open("rb") as opened:
        if opened.seek(0, os.SEEK_END) == 0:
            return False
        opened.seek(-1, os.SEEK_END)
        return opened.read() != b"\n"


def _lines_of(path: Path) -> Iterator[LedgerHour | Acted]:
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened:
        for number, text in enumerate(opened, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                acted = line.get("acted")
                yield LedgerHour.from_json(line) if acted is None else Acted(float(line["end"]), tuple(acted))
            except (ValueError, KeyError, TypeError, AttributeError):
                logger.warning("%s line %d is damaged and left out", path, number)


def _rounded(said: np.ndarray) -> list[list[float]] | None:
    # Six digits: what is scored again after a restart is what was scored before it, but for a millionth.
    return None if np.isnan(said).all() else np.round(said, 6).tolist()
