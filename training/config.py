"""The configuration of one training run: a TOML file in `training/configs/`, or a user's own."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from agents.ppo_config import PpoConfig
from envs.fields import Checked, FieldError, Finite
from training.demands import DemandConfig


class ConfigError(ValueError):
    """A training configuration that cannot be used; one line."""


class TrainingConfig(Checked, frozen=True, kw_only=True):
    """Everything that decides what a training run gives, but for the spec. Unknown keys are errors."""

    ppo: PpoConfig = PpoConfig()
    demands: DemandConfig = DemandConfig()
    validation: DemandConfig = DemandConfig(seeds=(1001, 1002))
    """Demands that the policy is selected on; never trained on."""
    episode_periods: Annotated[int, Meta(ge=2)] = 240
    """Length of a training episode, from a random place of a demand."""
    validation_periods: Annotated[int, Meta(ge=2)] = 300
    """Length of a validation episode."""
    peak_share: tuple[Finite, Finite] = (0.5, 0.95)
    """Range that an episode's peak load is drawn from, as a share of what the simulated system can do."""
    start: str = "best_static"
    """The setting that learning starts from: `best_static`, or the name of a heuristic, for the setting that was found
    to be best beside it. What is best for a fixed allocation need not be beside a policy that allocates."""
    partner: Literal["start", "policy"] = "start"
    """Who sets the other role's knobs meanwhile: nobody, they stay at `start`; or the other role's trained policy (of
    the same seed, else from the sibling folder, else the shipped one). Written down, since a partner that depends on
    what happens to lie around would give another policy each time."""
    seeds: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0,)
    """One training for each; the policy with the best validation score is written, all scores stand in its card."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: each seed once (given {', '.join(map(str, self.seeds))})")

    def with_seeds(self, listed: str) -> TrainingConfig:
        """The same with other seeds, given as on the command line: `0,1,2`.

        Raises:
            ConfigError: not numbers from 0, none at all, or one twice.
        """
        try:
            return self.model_copy(update={"seeds": [int(seed) for seed in listed.split(",")]})
        except ValueError:  # FieldError is one
            raise ConfigError(f"seeds are different numbers from 0, as in 0,1,2; given {listed!r}") from None

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
        except FieldError as error:
            raise ConfigError(f"training configuration {str(source)!r}: {error}") from None
