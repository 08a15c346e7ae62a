"""The learning system as a Gymnasium environment: a batch of N systems, and the single system as N = 1."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.episodes import EpisodeConfig, Episodes, Period
from envs.plant import Plant
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import Role, SystemSpec
from envs.task import MOVES, Clip, Task
from telemetry.public_traces import load_demand
from telemetry.workload import Demand

FRAMES = 120
"""Periods that a picture shows."""


class LearningSystemVectorEnv(VectorEnv):
    """N learning systems at once, each with serving, continual training and ingest on one host; no subprocesses.

    `docs/environments.md` has the data sheet of each registered environment, with every entry of its observation.

    ## Observation space
    `Box((n_observation,), float32)` per system, 82 entries with the reference spec. What each is stands in
    `task.labels`, what each metric means in the spec:

    | entries | range | meaning |
    |---|---|---|
    | `now/<metric>` | [-1, 1] | the last period's reading, scaled by the spec's bounds |
    | `trend/<metric>` | [-2, 2] | that minus the mean of the last `window_periods` |
    | `setting/<knob>` | [-1, 1] | the setting in force, both roles' knobs |
    | `headroom/<slo>` | [-1, 1] | relative distance to the SLO, positive while it holds |
    | `day/sin`, `day/cos` | [-1, 1] | time of day; both 0 where it is not known |
    | `forecast/<metric>/<lead>s` | [-1, 1] | demand expected so far ahead, from the past alone |
    | `weight/<workload>`, `weight/slo` | [-1, 1] | objective weights in force |

    ## Action space
    With `actions="absolute"`, `Box(-1, 1, (n_action,), float32)` per system: the wanted value of each knob of the task
    (`task.action_labels`) over its linear or logarithmic range. With `"incremental"`, `MultiDiscrete([5] * n_action)`:
    one step down, a quarter of one, stay, a quarter up, one step up. Moves are limited per period, grants are shrunk to
    what the host has, and moves within the dead band are not made; any finite action is allowed. With the reference
    spec (the joint task has all twelve):

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
    | `slo` | minus the constraint cost, times `violation_penalty`; left out with `penalize=False` |
    | `change` | minus the moves of the knobs, times `change_penalty` |

    `infos` further holds `objectives` (N, n_objectives), the vector that `task.objective.objective_names` names;
    `cost` (N,), the constraint cost in [0, 1] for constrained methods; `slo_met` (N,) bool; `efficiency` (N,).

    ## Starting state
    Empty queues and a model about five seconds old; the setting by `start_setting`; the demand, its offset, and the
    system's parameters by the seed. `window_periods` periods pass before the first observation.

    ## Episode end
    Never terminated: a learning system does not end. Truncated after `episode_steps`; the next episode begins in the
    same step, and the last observation of the ended one stands in `infos["final_obs"]`.

    ## Seeds
    `reset(seed=s)` gives system i the seed s + i: it then is, bit for bit, the single environment reset with that seed.

    ## Version history
    v1: expected demand, time of day and objective weights are observed; `trend` was called `deviation`.
    v0: first version.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 64,
        task: str | Role | Task = "allocation",
        spec: str | SystemSpec = "reference",
        demands: Sequence[Demand] | str | Path | None = None,
        *,
        seed: int | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """Make the systems.

        Args:
            num_envs: N.
            task: `allocation`, `tuning` or `joint`, or a Task (then `spec` is the task's).
            spec: a SystemSpec or the name of one.
            demands: what is replayed, or the file or folder of a trace; None for generated days of several families.
            seed: of the first reset that is given none; None for a random one.
            render_mode: only None.
            options: see `EpisodeConfig`.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; at least one system is needed")
        self.task = _task(task, spec)
        self.num_envs, self.render_mode = num_envs, render_mode
        config = EpisodeConfig(**options)
        self.episodes = Episodes(self.task, _plant(self.task, demands, num_envs, config), config)
        self.single_observation_space, self.single_action_space = spaces(self.task, config.actions)
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
        period = self.episodes.step(_absolute(self.episodes, actions, (self.num_envs, self.task.n_action)))
        infos: dict[str, Any] = {
            "terms": period.terms,
            "objectives": period.objectives,
            "cost": period.cost,
            "slo_met": period.slo_met,
            "efficiency": period.terms["efficiency"],
        }
        if len(period.final_observation):
            final = np.full(self.num_envs, None, dtype=object)
            for row, observation in zip(np.flatnonzero(period.truncated), period.final_observation, strict=True):
                final[row] = observation
            infos |= {"final_obs": final, "_final_obs": period.truncated}
        return period.observation, period.reward.astype(np.float32), self._never, period.truncated, infos

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


class Outlook(NamedTuple):
    """A period that has not happened."""

    observation: np.ndarray
    """(n_observation,)."""
    reward: float
    info: dict[str, Any]
    """As `step` gives it."""


class LearningSystemEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One learning system: the same as `LearningSystemVectorEnv` with N = 1, whose data sheet applies.

    `info["terms"]` holds floats, `info["clipped"]` says of each knob that did not go where the action asked why not,
    and there is no reset of its own: after `truncated` comes `reset()`. First episodes are not cut short (`stagger` is
    False).

    With `plant`, any plant of a single system takes the place of the simulator, a live one included: a period then
    takes as long as it takes, and `deadline_seconds` bounds what the agent may take of it. A live plant is not set back
    at a reset: the episode begins from the setting that is in force.

    `render_mode`: `rgb_array` gives a picture (height, width, 3) uint8 of load, latency against its SLO, settings and
    utilisation over the last periods, `ansi` the same as text, and `human` prints that text in place.

    ## Version history
    As `LearningSystemVectorEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi", "human"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        task: str | Role | Task = "allocation",
        spec: str | SystemSpec = "reference",
        demands: Sequence[Demand] | str | Path | None = None,
        *,
        plant: Plant | None = None,
        seed: int | None = None,
        render_mode: str | None = None,
        deadline_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        """Make the system.

        Args:
            task: `allocation`, `tuning` or `joint`, or a Task (then `spec` is the task's).
            spec: a SystemSpec or the name of one; with `plant`, the plant's is taken.
            demands: what is replayed, or the file or folder of a trace; None for generated days of several families.
            plant: a plant of a single system in place of the simulator.
            seed: of the first reset that is given none; None for a random one.
            render_mode: None or one of the metadata's.
            deadline_seconds: an action that comes later than this after its observation is not taken: the setting stays
                and `info["late"]` is True. None waits for ever.
            clock: seconds, monotonic.
            options: see `EpisodeConfig`.
        """
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ValueError(f"render_mode is {render_mode!r}; allowed are None, {', '.join(map(repr, modes))}")
        if deadline_seconds is not None and not deadline_seconds > 0:
            raise ValueError(f"deadline_seconds is {deadline_seconds}; it must be a positive number or None")
        config = EpisodeConfig(**{"stagger": False, **options})
        self.task = _task(task, spec if plant is None else plant.spec)
        chosen = plant if plant is not None else _plant(self.task, demands, 1, config)
        self.episodes = Episodes(self.task, chosen, config, autoreset=False)
        self.observation_space, self.action_space = spaces(self.task, config.actions)
        self.render_mode, self._deadline, self._clock = render_mode, deadline_seconds, clock
        self._first_seed, self._observed_at = seed, clock()
        self._frames: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=FRAMES)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: observation (n_observation,) and an empty info."""
        super().reset(seed=seed)
        first, self._first_seed = self._first_seed, None
        chosen = seed if seed is not None else first
        if chosen is None and not self.episodes.begun:
            chosen = int(self.np_random.integers(2**31))
        observation = self.episodes.reset(chosen)[0]
        self._frames.clear()
        self._look()
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One period: observation (n_observation,), reward, terminated, truncated, info.

        Raises:
            ValueError: `action` is not (n_action,).
        """
        late = self._deadline is not None and self._clock() - self._observed_at > self._deadline
        setting = self.episodes.plant.setting
        wanted = _absolute(self.episodes, action, (self.task.n_action,))[None]
        decoded = self.task.explain(wanted, setting)
        period = self.episodes.step(wanted, setting if late else decoded.setting)
        self._look()
        info = self._info(period) | {"clipped": _reasons(self.task, decoded.clipped[0]), "late": late}
        return period.observation[0], float(period.reward[0]), False, bool(period.truncated[0]), info

    def simulate(self, action: np.ndarray, periods: int = 1, *, known_demand: bool = False) -> list[Outlook]:
        """What an action would bring, without taking it: no noise, and the demand stays as it is.

        The other role's knobs stay, too.

        Args:
            action: (n_action,).
            periods: how far to look; after the first, the setting is held.
            known_demand: replay the true demand instead, which only an oracle knows.

        Raises:
            ValueError: `action` is not (n_action,), or `periods` is below 1.
            TypeError: the plant is not a simulated one.
        """
        if periods < 1:
            raise ValueError(f"periods is {periods}; it must be at least 1")
        wanted = _absolute(self.episodes, action, (self.task.n_action,))[None]
        ahead = self.episodes.simulate(wanted, periods, known_demand=known_demand)
        return [Outlook(period.observation[0], float(period.reward[0]), self._info(period)) for period in ahead]

    def render(self) -> np.ndarray | str | None:  # type: ignore[override]
        """The picture or the text; None without a render mode, and in `human`, which prints."""
        if self.render_mode is None:
            return None
        from envs.rendering import Frames, picture, show, text  # drawing libraries cost a second

        values, settings = (np.stack(part) for part in zip(*self._frames, strict=True))
        frames = Frames(values, settings)
        if self.render_mode == "human":
            show(text(self.task, frames))
            return None
        return picture(self.task, frames) if self.render_mode == "rgb_array" else text(self.task, frames)

    def close(self) -> None:
        """Release the plant."""
        self.episodes.plant.close()

    def _look(self) -> None:
        """Remember what a picture shows, and when the agent was shown the observation."""
        if self.render_mode is not None:
            self._frames.append((self.episodes.recent.values[0].copy(), self.episodes.plant.setting[0]))
        if self.render_mode == "human":
            self.render()
        self._observed_at = self._clock()

    def _info(self, period: Period) -> dict[str, Any]:
        terms = {name: float(term[0]) for name, term in period.terms.items()}
        return {
            "terms": terms,
            "objectives": period.objectives[0],
            "cost": float(period.cost[0]),
            "slo_met": bool(period.slo_met[0]),
            "efficiency": terms["efficiency"],
        }


def spaces(task: Task, actions: str = "absolute") -> tuple[Box, Space[Any]]:
    """Observation and action space of a single system."""
    high = np.array([2.0 if label.startswith("trend/") else 1.0 for label in task.labels], dtype=np.float32)
    observation = Box(-high, high, dtype=np.float32)
    if actions == "incremental":
        return observation, MultiDiscrete([len(MOVES)] * task.n_action)
    return observation, Box(-1.0, 1.0, (task.n_action,), dtype=np.float32)


def _task(task: str | Role | Task, spec: str | SystemSpec) -> Task:
    if isinstance(task, Task):
        return task
    return Task(spec if isinstance(spec, SystemSpec) else SystemSpec.load(spec), task)


def _plant(task: Task, demands: Sequence[Demand] | str | Path | None, n: int, config: EpisodeConfig) -> SimulatedPlant:
    if demands is None:
        demands = default_demands(task.spec.control_period_seconds)
    elif isinstance(demands, str | Path):
        demands = [load_demand(Path(demands))]
    return SimulatedPlant(
        task.spec,
        demands,
        n=n,
        parameters=config.parameters,
        randomize=config.randomize,
        random_start=True,
        peak_share=config.peak_share,
        noise=config.noise,
        missing_ratio=config.missing_ratio,
        incident_rate_per_hour=config.incident_rate_per_hour,
    )


def _absolute(episodes: Episodes, action: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The action as wanted values of the knobs, of the given shape.

    Raises:
        ValueError: another shape, or an incremental action out of its range.
    """
    given = np.asarray(action)
    if given.shape != shape:
        raise ValueError(f"action has shape {given.shape}; this environment takes {shape}")
    if episodes.config.actions == "absolute":
        return given.astype(float, copy=False)
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= len(MOVES):
        raise ValueError(f"an incremental action holds integers from 0 to {len(MOVES) - 1}; given {given}")
    return episodes.task.moves(given, episodes.plant.setting.reshape(*shape[:-1], -1))


def _reasons(task: Task, clipped: np.ndarray) -> dict[str, str]:
    return {knob: str(Clip(code)) for knob, code in zip(task.action_labels, clipped, strict=True) if code}
