"""What the policies propose, and what the fallback proposes where they cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from agents.policy import Policy
from controller.shield import Reason, Refusal
from envs.recent import Recent
from envs.spec import Role
from envs.task import Task


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
        self.tasks, self.policies, self.fallback = dict(tasks), dict(policies), dict(fallback)
        self.on_fallback: set[Role] = set()
        self.relieved = ""
        """Why no policy is asked, but the fallback of each role; empty if they are."""

    def reset(self) -> None:
        """Let all policies forget what they remember, as after a pause in which they saw nothing."""
        for policy in (*self.policies.values(), *self.fallback.values()):
            policy.reset()

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
            problem = self.relieved or _missing(task, observation)
            problem = problem or self._try(role, policy, observation, setting, proposals)
            if problem is None:
                self.on_fallback.discard(role)
                continue
            proposals.reasons.append(Refusal(Reason.FALLBACK, f"{role}: {problem}"))
            self._fall_back(role, observation, setting, proposals)
        return proposals

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
