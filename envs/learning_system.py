"""The learning system as a Gymnasium environment: a batch of N systems, and the single system as N = 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.episodes import EpisodeConfig, Episodes
from envs.plant import Plant
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.workload import Demand


class LearningSystemVectorEnv(VectorEnv):
    """N learning systems at once, each with serving, continual training and ingest on one host; no subprocesses.

    ## Observation space
    `Box((n_observation,), float32)` per system, 70 entries with the reference spec. What each is stands in
    `task.labels`, what each metric means in the spec:

    | entries | range | meaning |
    |---|---|---|
    | `now/<metric>` | [-1, 1] | the last period's reading, scaled by the spec's bounds |
    | `deviation/<metric>` | [-2, 2] | that minus the mean of the last `window_periods` |
    | `setting/<knob>` | [-1, 1] | the setting in force, both roles' knobs |
    | `headroom/<slo>` | [-1, 1] | relative distance to the SLO, positive while it holds |

    ## Action space
    `Box(-1, 1, (n_action,), float32)` per system: the wanted value of each knob of the role (`task.action_labels`) over
    its linear or logarithmic range. Moves are limited per period, CPU grants are shrunk to what the host has, and moves
    within the dead band are not made; any finite action is allowed. With the reference spec:

    | role | # | knob | range | unit |
    |---|---|---|---|---|
    | allocation | 0 | `serving_cpu_cores` | 0.1 to 1.3, log | cores |
    | | 1 | `training_cpu_cores` | 0.05 to 1, log | cores |
    | | 2 | `ingest_cpu_cores` | 0.03 to 0.6, log | cores |
    | tuning | 0 | `serving_batch_size` | 1 to 64, log | requests |
    | | 1 | `serving_batch_timeout_seconds` | 0 to 0.05 | seconds |
    | | 2 | `serving_threads` | 1, 2 | threads |
    | | 3 | `training_batch_size` | 8 to 256, log | samples |
    | | 4 | `training_threads` | 1, 2 | threads |
    | | 5 | `training_loader_workers` | 1 to 4 | threads |
    | | 6 | `training_checkpoint_interval_seconds` | 2 to 60, log | seconds |
    | | 7 | `ingest_chunk_events` | 8 to 1024, log | events |
    | | 8 | `ingest_cache_entries` | 16 to 8192, log | entries |

    ## Reward
    The sum of three terms, which stand in `infos["terms"]`:

    | term | meaning |
    |---|---|
    | `efficiency` | value-weighted useful work per price of what is reserved |
    | `slo` | minus the weighted breaches of the SLOs, times `violation_penalty` |
    | `change` | minus the moves of the knobs, times `change_penalty` |

    `infos` further holds `slo_met` (N,) bool and `efficiency` (N,).

    ## Starting state
    Empty queues and a model about five seconds old; the setting by `start_setting`; the demand, its offset, and the
    system's parameters by the seed. `window_periods` periods pass before the first observation.

    ## Episode end
    Never terminated: a learning system does not end. Truncated after `episode_steps`; the next episode begins in the
    same step, and the last observation of the ended one stands in `infos["final_obs"]`.

    ## Seeds
    `reset(seed=s)` gives system i the seed s + i: it then is, bit for bit, the single environment reset with that seed.

    ## Version history
    v0: first version.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 64,
        task: str | Role | Task = "allocation",
        spec: str | SystemSpec = "reference",
        demands: Sequence[Demand] | None = None,
        *,
        seed: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Make the systems.

        Args:
            num_envs: N.
            task: which role acts, or its Task (then `spec` is the task's).
            spec: a SystemSpec or the name of one.
            demands: what is replayed; None for generated days of several families.
            seed: of the first reset that is given none; None for a random one.
            render_mode: only None.
            options: see `EpisodeConfig`.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; at least one system is needed")
        self.task = _task(task, spec)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.episodes = Episodes(self.task, _plant(self.task, demands, num_envs, options), EpisodeConfig(**options))
        self.single_observation_space, self.single_action_space = spaces(self.task)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._first_seed = seed
        self._never = np.zeros(num_envs, dtype=bool)
        self._never.flags.writeable = False

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every system: observations (N, n_observation) and no infos."""
        super().reset(seed=seed if isinstance(seed, int) else None, options=options)
        return self.episodes.reset(self._seed_or_first(seed)), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One period: observations (N, n_observation), rewards (N,), terminated, truncated (N,), infos.

        Raises:
            ValueError: `actions` is not (N, n_action).
        """
        period = self.episodes.step(_checked(actions, (self.num_envs, self.task.n_action)))
        reward = np.asarray(sum(period.terms.values()), dtype=np.float32)
        infos: dict[str, Any] = {
            "terms": period.terms,
            "slo_met": period.slo_met,
            "efficiency": period.terms["efficiency"],
        }
        if len(period.final_observation):
            final = np.full(self.num_envs, None, dtype=object)
            for row, observation in zip(np.flatnonzero(period.truncated), period.final_observation, strict=True):
                final[row] = observation
            infos |= {"final_obs": final, "_final_obs": period.truncated}
        return period.observation, reward, self._never, period.truncated, infos

    def _seed_or_first(self, seed: int | Sequence[int] | None) -> int | Sequence[int] | None:
        first, self._first_seed = self._first_seed, None
        if seed is not None:
            return seed
        if first is None and not self.episodes.begun:
            return int(self.np_random.integers(2**31))
        return first

    def close_extras(self, **kwargs: Any) -> None:
        """Release the plant."""
        self.episodes.plant.close()


class LearningSystemEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One learning system: the same as `LearningSystemVectorEnv` with N = 1, whose data sheet applies.

    `info["terms"]` holds floats, and there is no reset of its own: after `truncated` comes `reset()`. First episodes
    are not cut short (`stagger` is False).

    With `plant`, any plant of a single system takes the place of the simulator, a live one included. It is not set back
    at a reset: the episode begins from the setting that is in force.

    `render_mode="rgb_array"`: bars of the last readings and of the setting in force, (height, width, 3) uint8.

    ## Version history
    v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        task: str | Role | Task = "allocation",
        spec: str | SystemSpec = "reference",
        demands: Sequence[Demand] | None = None,
        *,
        plant: Plant | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Make the system.

        Args:
            task: which role acts, or its Task (then `spec` is the task's).
            spec: a SystemSpec or the name of one; with `plant`, the plant's is taken.
            demands: what is replayed; None for generated days of several families.
            plant: a plant of a single system in place of the simulator.
            seed: of the first reset that is given none; None for a random one.
            render_mode: None or `rgb_array`.
            options: see `EpisodeConfig`.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; allowed are None and 'rgb_array'")
        options = {"stagger": False, **options}
        self.task = _task(task, spec if plant is None else plant.spec)
        chosen = plant if plant is not None else _plant(self.task, demands, 1, options)
        self.episodes = Episodes(self.task, chosen, EpisodeConfig(**options), autoreset=False)
        self.observation_space, self.action_space = spaces(self.task)
        self.render_mode = render_mode
        self._first_seed = seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: observation (n_observation,) and an empty info."""
        super().reset(seed=seed)
        first, self._first_seed = self._first_seed, None
        chosen = seed if seed is not None else first
        if chosen is None and not self.episodes.begun:
            chosen = int(self.np_random.integers(2**31))
        return self.episodes.reset(chosen)[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One period: observation (n_observation,), reward, terminated, truncated, info.

        Raises:
            ValueError: `action` is not (n_action,).
        """
        period = self.episodes.step(_checked(action, (self.task.n_action,))[None])
        truncated = bool(period.truncated[0])
        terms = {name: float(term[0]) for name, term in period.terms.items()}
        info = {"terms": terms, "slo_met": bool(period.slo_met[0]), "efficiency": terms["efficiency"]}
        return period.observation[0], sum(terms.values()), False, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture, or None without a render mode."""
        if self.render_mode is None:
            return None
        from envs.rendering import picture  # matplotlib costs a second, and few environments are ever drawn

        return picture(self.task, self.episodes.observation[0])

    def close(self) -> None:
        """Release the plant."""
        self.episodes.plant.close()


def spaces(task: Task) -> tuple[Box, Box]:
    """Observation and action space of a single system."""
    high = np.array([2.0 if label.startswith("deviation/") else 1.0 for label in task.labels], dtype=np.float32)
    return Box(-high, high, dtype=np.float32), Box(-1.0, 1.0, (task.n_action,), dtype=np.float32)


def _task(task: str | Role | Task, spec: str | SystemSpec) -> Task:
    if isinstance(task, Task):
        return task
    return Task(spec if isinstance(spec, SystemSpec) else SystemSpec.load(spec), task)


def _plant(task: Task, demands: Sequence[Demand] | None, n: int, options: dict[str, Any]) -> SimulatedPlant:
    config = EpisodeConfig(**options)
    replayed = demands if demands is not None else default_demands(task.spec.control_period_seconds)
    return SimulatedPlant(
        task.spec,
        replayed,
        n=n,
        parameters=config.parameters,
        randomize=config.randomize,
        random_start=True,
        peak_share=config.peak_share,
        noise=config.noise,
    )


def _checked(action: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    given = np.asarray(action, dtype=float)
    if given.shape != shape:
        raise ValueError(f"action has shape {given.shape}; this environment takes {shape}")
    return given
