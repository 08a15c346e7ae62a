"""The configuration of one training run: a TOML file in `training/configs/`, or a user's own."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.ppo_config import PpoConfig
from training.demands import DemandConfig


class ConfigError(ValueError):
    """A training configuration that cannot be used; one line."""


class TrainingConfig(BaseModel):
    """Everything that decides what a training run gives, but for the spec. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ppo: PpoConfig = PpoConfig()
    demands: DemandConfig = DemandConfig()
    validation: DemandConfig = DemandConfig(seeds=(1001, 1002))
    """Demands that the policy is selected on; never trained on."""
    episode_periods: Annotated[int, Field(ge=2)] = 240
    """Length of a training episode, from a random place of a demand."""
    validation_periods: Annotated[int, Field(ge=2)] = 300
    """Length of a validation episode."""
    peak_share: tuple[float, float] = (0.5, 0.95)
    """Range that an episode's peak load is drawn from, as a share of what the simulated system can do."""
    partner: Literal["best-static", "policy"] = "best-static"
    """Who sets the other role's knobs meanwhile: the best static setting, or the other role's trained policy (from the
    sibling folder, else the shipped one). Written down, since a partner that depends on what happens to lie around
    would give another policy each time."""
    seeds: tuple[int, ...] = (0,)
    """One training for each; the policy with the best validation score is written, all scores stand in its card."""

    @classmethod
    def load(cls, source: str | Path | None, task: str) -> TrainingConfig:
        """Read a TOML file; None reads the shipped configuration of the task.

        Raises:
            ConfigError: unreadable, broken TOML, unknown key, or value out of range.
        """
        shipped = resources.files("training") / "configs" / f"{task}.toml"
        try:
            text = shipped.read_text() if source is None else Path(source).read_text()
            return cls.model_validate(tomllib.loads(text))
        except OSError as error:
            raise ConfigError(f"cannot read training configuration {str(source)!r}: {error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"training configuration {str(source)!r} is not valid TOML: {error}") from None
        except ValidationError as error:
            raise ConfigError(f"training configuration {str(source)!r}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']} (given {first['input']!r})"
    tables: dict[str, type[BaseModel]] = {"ppo": PpoConfig, "demands": DemandConfig, "validation": DemandConfig}
    known = tables.get(str(first["loc"][0]), TrainingConfig).model_fields
    return f"unknown key {where!r}; known keys: {', '.join(known)}"
