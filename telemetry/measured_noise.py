"""How noisy arrivals, machines and readings really are: figures for the simulator, with their source.

Measured by `training.measure_arrivals`, `training.measure_noise` and `training.measure_host`; tables in docs/traces.md.
"""

from __future__ import annotations

ARRIVAL_BURSTINESS = 0.0144
"""Variance of the request rate within seconds around its demand, relative to its square: 1 / shape of a Gamma mixture.
Requests are Poisson on top of it, so the variance of a period's count is mean + 0.0144 mean^2; the rate's standard
deviation is 0.12. Azure LLM 0.0132 in 1 s, Mooncake 0.006 in 3 s."""
ARRIVAL_BURSTINESS_RANGE = (0.0064, 0.078)
"""Over services, in 1 s: ServeGen's m-small 0.007, m-large 0.036, deepseek-r1 0.078."""
ARRIVAL_BURSTINESS_SECONDS = 10.0
"""Time constant: Azure LLM's deviation of 0.115 in 1 s is 0.079 in 10 s, where one without memory would be 0.036."""

SPEED_NOISE_RATIO = 0.05
"""Relative, from one period of 1 s to the next: what serving's CPU varies by in the testbed's recordings, beyond its
load and the error of the reading. An upper limit, since work carried over from the period before is in it."""
SPEED_WANDER_RATIO = 0.03
"""Relative, slow wander of a host that others use too: 0.03 for compute, 0.06 for memory, measured over 20 minutes."""
SPEED_WANDER_SECONDS = 60.0
"""Its time constant, roughly: half of it or more is there after 5 s, and memory's still grows after 300 s."""
MACHINE_SPEED_RATIO = 0.02
"""Relative, between machines of a kind, and on one machine over weeks (Azure VM noise: memory bandwidth, PostgreSQL and
Redis 0.01 to 0.03). In an episode it is a constant: draw it once."""

CPU_READING_NOISE_CORES = 0.007
"""Of a CPU reading over 1 s, whatever its size: the counters of processes advance in ticks of 10 ms, and ceilings cut
in slices of 20 ms. Ingest's 0.04 cores are read as 0.03, 0.04 or 0.05."""
CPU_READING_NOISE_RATIO = 0.01
"""Relative part of it, to be added in squares. Memory readings have no noise."""

MISSING_BY_CORES = ((0.12, 0.03), (0.4, 0.005), (float("inf"), 0.0))
"""(granted CPU below, share of periods in which a component does not answer in time). All its readings are missing
together: levels for one period, rates for two, since a rate needs two answers."""
