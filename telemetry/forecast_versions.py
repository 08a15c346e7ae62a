"""The forecaster in use, which may be trained anew at any time, and the last one that was good."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from telemetry.forecast import Forecaster
from telemetry.forecast_artifact import CARD, SHIPPED, WEIGHTS, ForecastArtifactError, load

logger = logging.getLogger(__name__)

NO_MODEL = "no model"


class Versions:
    """Follows a folder with a forecaster, and keeps a copy of the last good one.

    Args:
        folder: of the forecaster; None: the shipped one, and the hour-of-day table where none is shipped.
        kept: folder for the copy; need not exist.

    Raises:
        ForecastArtifactError: no forecaster in `folder`.
    """

    def __init__(self, folder: Path | None, kept: Path) -> None:
        self._folder = folder if folder or not (SHIPPED / CARD).exists() else SHIPPED
        self._kept = kept
        self._seen: tuple[int, ...] = ()
        self._refused: str | None = None
        self.good: Forecaster | None = None
        self.model = Forecaster()
        if self._folder is not None:
            self._seen = self._stamp()
            self.model = load(self._folder)
        if (kept / CARD).exists():
            self.good = self._loaded(kept)

    @property
    def ids(self) -> tuple[str, str]:
        """Of the model and of the last good one; the latter is empty where that is the model, or there is none."""
        model, good = _id(self.model), _id(self.good) if self.good else ""
        return model, "" if good == model else good

    def refresh(self) -> None:
        """Load the model again if its folder was written; one that is damaged is left out with a log line."""
        if self._folder is None or self._stamp() == self._seen:
            return
        stamp = self._stamp()
        found = self._loaded(self._folder)
        if found is not None:
            if _id(found) != _id(self.model):
                logger.warning("a new forecaster, %s, instead of %s", _id(found), _id(self.model))
            self.model, self._seen, self._refused = found, stamp, None

    def keep(self) -> None:
        """The model is good: copy it, if that was not done.

        Raises:
            OSError: the disk refuses.
        """
        if self._folder is None or not self.model.models or (self.good and _id(self.good) == _id(self.model)):
            return
        new = self._kept.with_name(f".{self._kept.name}.{os.getpid()}.tmp")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for name in (WEIGHTS, CARD):
            shutil.copyfile(self._folder / name, new / name)
        copied = self._loaded(new)
        if copied is None or _id(copied) != _id(self.model):  # it was trained anew just now
            shutil.rmtree(new, ignore_errors=True)
            return
        shutil.rmtree(self._kept, ignore_errors=True)  # a crash here costs the copy, which is made again
        new.rename(self._kept)
        self.good = copied

    def _loaded(self, folder: Path) -> Forecaster | None:
        try:
            return load(folder)
        except ForecastArtifactError as error:
            if str(error) != self._refused:  # said once, not in every round
                logger.warning("%s; the former one is used", error)
            self._refused = str(error)
            return None

    def _stamp(self) -> tuple[int, ...]:
        if self._folder is None:
            return ()
        try:
            return tuple(os.stat(self._folder / name).st_mtime_ns for name in (CARD, WEIGHTS))
        except OSError:
            return ()


def _id(forecaster: Forecaster) -> str:
    return str(forecaster.card["sha256"])[:12] if forecaster.models else NO_MODEL
