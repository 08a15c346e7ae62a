"""What the policies propose, and what the fallback proposes where they cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from agents.novelty import guard_of
from agents.policy import Policy
from controller.novelty import DriftWatch, NoveltyWatch
from controller.shield import Reason, Refusal
from envs.recent import Recent
from envs.spec import Role
from envs.task import Task

VALID_SHARE = 0.9
"""With less of an observation there, it is called invalid, not only incomplete."""


@dataclass
class Proposals:
    """The proposals of one period.

    Attributes:
        settings: role -> wanted setting, (n_knobs,), after `Task.decode`; a role without one is held.
        policies: role -> name of the policy that proposed it.
        reasons: why a role was left to the fallback, or is held.
    """

    settings: dict[Role, np.ndarray] = field(default_factory=dict)
    policies: dict[Role, str] = field(default_factory=dict)
    reasons: list[Refusal] = field(default_factory=list)


class Proposer:
    """Asks the policy of each role, and its fallback in the same period where the policy cannot be used.

    Args:
        tasks: by role.
        policies: by role.
        fallback: by role; a role without one is held.
    """

    def __init__(
        self, tasks: Mapping[Role, Task], policies: Mapping[Role, Policy], fallback: Mapping[Role, Policy]
    ) -> None:
        self.tasks, self.fallback = dict(tasks), dict(fallback)
        self.use(policies)

    def use(self, policies: Mapping[Role, Policy]) -> None:
        """Ask these policies from now on, with what each of them knows of what it was made with.

        Args:
            policies: by role; each role has a task.
        """
        self.policies = dict(policies)
        self.on_fallback: set[Role] = set()
        self.relieved = ""
        """Why no policy is asked, but the fallback of each role; empty if they are."""
        self.takeover = ""
        """Why the fallback hands out the resources, where there is one; empty if the policy does."""
        guards = {role: guard for role, policy in self.policies.items() if (guard := guard_of(policy)) is not None}
        self.novelty = {role: NoveltyWatch(guard) for role, guard in guards.items()}
        """Of the policies that know what they were made with."""
        self.drift = {role: DriftWatch(guard, self.tasks[role].spec) for role, guard in guards.items()}

    def reset(self) -> None:
        """Let all policies forget what they remember, as after a pause in which they saw nothing."""
        for policy in (*self.policies.values(), *self.fallback.values()):
            policy.reset()
        for watch in self.novelty.values():
            watch.reset()

    @property
    def retraining(self) -> str | None:
        """Why a new training is asked for, in one line; None while it is not."""
        return "; ".join(f"{role}: {drift.asked}" for role, drift in self.drift.items() if drift.asked) or None

    def metrics(self) -> dict[str, float]:
        """Figures by series name."""
        found = {"trimtab_controller_retraining_asked": float(self.retraining is not None)}
        for role, watch in self.novelty.items():
            found[f'trimtab_controller_observation_distance_ratio{{role="{role}"}}'] = (
                watch.distance / watch.guard.guard.threshold
            )
            found[f'trimtab_controller_strange_observations_total{{role="{role}"}}'] = float(watch.strange)
        return found

    def propose(self, recent: Recent, setting: np.ndarray) -> Proposals:
        """Proposals of all roles.

        Args:
            recent: the last periods.
            setting: (n_knobs,) in force.
        """
        proposals = Proposals()
        for role, policy in self.policies.items():
            task = self.tasks[role]
            observation = task.observe(recent, setting)
            if role in self.drift:
                self.drift[role].see(observation, recent.values, setting)
            refusal = self._unusable(role, observation)
            if refusal is None:
                problem = self._try(role, policy, observation, setting, proposals)
                refusal = None if problem is None else Refusal(Reason.FALLBACK, f"{role}: {problem}")
            if refusal is None:
                self.on_fallback.discard(role)
                continue
            proposals.reasons.append(refusal)
            self._fall_back(role, observation, setting, proposals)
        return proposals

    def _unusable(self, role: Role, observation: np.ndarray) -> Refusal | None:
        """Why an observation is not shown to the role's policy; None if it may be."""
        if self.relieved:
            return Refusal(Reason.FALLBACK, f"{role}: {self.relieved}")
        if self.takeover and role is Role.ALLOCATION and role in self.fallback:
            return Refusal(Reason.FALLBACK, f"{role}: {self.takeover}")
        missing = _missing(self.tasks[role], observation)
        if missing is not None:
            invalid = np.isfinite(observation).mean() < VALID_SHARE
            return Refusal(Reason.INVALID if invalid else Reason.FALLBACK, f"{role}: {missing}")
        strange = self.novelty[role].look(observation) if role in self.novelty else None
        return None if strange is None else Refusal(Reason.OUT_OF_DISTRIBUTION, f"{role}: {strange}")

    def _fall_back(self, role: Role, observation: np.ndarray, setting: np.ndarray, proposals: Proposals) -> None:
        policy = self.fallback.get(role)
        if policy is None:
            problem: str | None = "there is no fallback"
        else:
            if role not in self.on_fallback:
                policy.reset()  # what it remembers is from the last time that it was asked
                self.policies[role].reset()
            problem = self._try(role, policy, observation, setting, proposals, partial=True)
        self.on_fallback.add(role)
        if problem is not None:
            proposals.reasons.append(Refusal(Reason.NO_PROPOSAL, f"{role} is held: {problem}"))

    def _try(
        self,
        role: Role,
        policy: Policy,
        observation: np.ndarray,
        setting: np.ndarray,
        proposals: Proposals,
        partial: bool = False,
    ) -> str | None:
        """Add a policy's proposal; else the problem in one line.

        Args:
            role: of the policy.
            policy: to ask.
            observation: (n_observation,).
            setting: (n_knobs,) in force.
            proposals: to add to.
            partial: whether an entry that is not finite keeps its knob, instead of spoiling the proposal.
        """
        try:
            # Errstate: a fallback may compute with what is missing, and NaN is its answer then.
            with np.errstate(all="ignore"):
                action = np.asarray(policy.act(observation), dtype=float)
        except Exception as error:  # a policy may be anybody's code, and the loop must outlive it
            return f"{policy.name} failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]
        task = self.tasks[role]
        if action.shape != (task.n_action,):
            return f"{policy.name} returned shape {action.shape}, not ({task.n_action},)"
        finite = np.isfinite(action)
        if not (finite.any() if partial else finite.all()):
            return f"{policy.name} returned {int((~finite).sum())} entries that are not finite"
        proposals.settings[role] = task.decode(action, setting)
        proposals.policies[role] = policy.name
        return None


def _missing(task: Task, observation: np.ndarray) -> str | None:
    """Which parts of an observation are missing, in one line; None if it is complete."""
    bad = [label for label, value in zip(task.labels, observation, strict=True) if not np.isfinite(value)]
    if not bad:
        return None
    return f"{len(bad)} of {len(observation)} entries are missing: {', '.join(bad[:3])}{', ...' if bad[3:] else ''}"
