"""PPO's hyperparameters: the source of defaults, TOML keys and the configuration in the artifact. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from envs.fields import Checked, Finite, NonNegative, Positive

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]


class PpoConfig(Checked, frozen=True, kw_only=True):
    """PPO's hyperparameters. Unknown keys are errors."""

    n_envs: Count = 512
    """Systems simulated side by side; with `n_steps` it makes a rollout of two batches."""
    n_steps: Count = 16
    """Periods of each system in one rollout; short, since gamma looks only some 20 periods ahead."""
    batch_size: Count = 4096
    """Samples of one gradient step. Default 4096: nine times cheaper per sample than 64, measured."""
    n_epochs: Count = 4
    """Passes over each rollout."""
    total_steps: Count = 4_000_000
    """System periods to train on, over all systems."""
    learning_rate: Positive = 1e-3
    """At the start; falls linearly to 0, since a constant rate of 1e-3 wanders at the end."""
    gamma: Share = 0.95
    """Discount per period. Default 0.95: the plant settles within seconds, a period is one."""
    gae_lambda: Share = 0.9
    """Mixture of short and long advantage estimates."""
    clip_range: Positive = 0.2
    """Largest change of an action's probability ratio that is followed."""
    entropy_weight: NonNegative = 0.0
    """Weight of the entropy bonus. Default 0: exploration comes from the initial spread alone."""
    initial_log_std: Finite = -2.0
    """Logarithm of the exploration's standard deviation at the start. Default -2: 7 % of the action range, as training
    starts near a good setting. Validation of allocation, one seed, 2 M steps, change weight 1: 0.91 at -0.7,
    0.95 at -1.4, 0.965 at -1.8."""
    max_grad_norm: Positive = 0.5
    """Gradients longer than this are shortened to it."""
    target_kl: Positive | None = 0.03
    """Stops a rollout's passes once the policy has moved so far; None never stops."""
    reward_scale: Positive = 0.2
    """Factor on the reward that PPO sees (logs and scores show the true one), so that returns are of order 1."""
    change_weight: NonNegative = 10.0
    """Factor on the reward's change term while learning. Default 10: at 1 a policy that follows the noise of every
    period loses nothing, and moved a knob in 5 of 6 periods."""
    slo_target: Share | None = None
    """Share of the validation periods in which every SLO must hold. Constrained PPO: the factor on the reward's `slo`
    term is a Lagrange multiplier, which grows while the policy falls short and shrinks while it does better (Tessler et
    al. 2019, "Reward constrained policy optimization"). None keeps the spec's penalty. At 0.93 and one seed: efficiency
    3.79 and validation reward 1.279, against 1.271 without."""
    hidden: tuple[Count, Count] = (64, 64)
    """Widths of the tanh layers, of policy and of value network."""
    evaluations: Count = 20
    """Times that the policy is scored on the validation batch; the best one is kept."""
    patience: Count | None = None
    """Evaluations in a row without a better score after which training stops. None, the default, never stops: as the
    learning rate falls, the best score often comes late."""
    threads: Count = 1
    """Of torch and of numpy's matrix products. Default 1: a second one gains nothing for so small a network; train two
    roles side by side instead."""

    def __post_init__(self) -> None:
        samples = self.n_envs * self.n_steps
        if samples % self.batch_size:
            raise ValueError(
                f"a rollout of {self.n_envs} x {self.n_steps} = {samples} samples must be a multiple of "
                f"batch_size {self.batch_size}"
            )
