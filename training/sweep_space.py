"""What a sweep draws hyperparameters from: a TOML file, `training/configs/space.toml` or a user's own."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from agents.ppo_config import PpoConfig
from envs.fields import Checked, FieldError, Finite, typed
from training.config import ConfigError


class Range(Checked, frozen=True, kw_only=True):
    """Numbers between two bounds."""

    low: Finite
    high: Finite
    log: bool = False
    """Uniform in the logarithm: as likely between 1 and 10 as between 10 and 100."""

    def __post_init__(self) -> None:
        if not (self.low < self.high and (self.low > 0 or not self.log)):
            raise ValueError(f"low must be less than high, and above 0 with log; given {self.low}, {self.high}")

    def draw(self, rng: np.random.Generator) -> float:
        """One of them, four digits of it."""
        low, high = (np.log([self.low, self.high])) if self.log else (self.low, self.high)
        drawn = rng.uniform(low, high)
        return float(f"{np.exp(drawn) if self.log else drawn:.4g}")


Choices = list[Any]


class Space:
    """Hyperparameters to vary, each in a range or among choices.

    Args:
        axes: key of `PpoConfig` -> where it is drawn from.

    Raises:
        ConfigError: a key that PPO does not have, an empty list, a range that is none.
    """

    def __init__(self, axes: dict[str, Any]) -> None:
        unknown = [key for key in axes if key not in PpoConfig.__struct_fields__]
        if unknown:
            raise ConfigError(f"unknown hyperparameter {unknown[0]!r}; known: {', '.join(PpoConfig.__struct_fields__)}")
        try:
            self._axes: dict[str, Range | Choices] = typed(dict[str, Range | Choices], axes)
        except FieldError as error:
            raise ConfigError(f"{error}; give [a, b, ...] or {{ low = a, high = b, log = true }}") from None
        empty = [key for key, axis in self._axes.items() if isinstance(axis, list) and not axis]
        if empty:
            raise ConfigError(f"{empty[0]}: no choices")

    @classmethod
    def load(cls, source: Path | None) -> Space:
        """Read a TOML file; None reads the shipped one.

        Raises:
            ConfigError: unreadable, broken TOML, or not a space.
        """
        try:
            text = (source or resources.files("training") / "configs" / "space.toml").read_text()
            return cls(tomllib.loads(text))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ConfigError) as error:
            raise ConfigError(f"search space {str(source)!r}: {error}") from None

    def draw(self, base: PpoConfig, seed: int, trial: int) -> PpoConfig:
        """The configuration of a trial: `base` itself for the first, so that every table shows what the others change.

        A trial does not depend on how many others there are: a sweep can be made longer afterwards. What has only one
        choice holds for the first trial, too: shorter trainings, for example, are compared with a shorter one.

        Raises:
            ConfigError: what was drawn is no valid configuration.
        """
        rng = np.random.default_rng((seed, trial))
        drawn = {key: self._value(axis, rng) for key, axis in self._axes.items()}
        if trial == 0:
            drawn = {key: axis[0] for key, axis in self._axes.items() if isinstance(axis, list) and len(axis) == 1}
        try:
            return base.model_copy(update=drawn)
        except FieldError as error:
            raise ConfigError(f"the search space gives {drawn}: {error}") from None

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {key: axis if isinstance(axis, list) else axis.model_dump() for key, axis in self._axes.items()}

    @staticmethod
    def _value(axis: Range | Choices, rng: np.random.Generator) -> Any:
        return axis.draw(rng) if isinstance(axis, Range) else axis[int(rng.integers(len(axis)))]
