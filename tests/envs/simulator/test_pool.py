"""Pools: hosts start late, go at once, and what waits is never lost on the way."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulator.pool import Pool
from envs.simulator.replay import default_demands
from envs.simulator.simulated_plant import SimulatedPlant
from envs.spec import SpecError, SystemSpec

POOL = SystemSpec.load("pool")
STARTUP = 60.0


def test_a_pool_of_one_host_is_that_host_bit_for_bit(steady):
    host, pool = steady().run(80), steady("pool", pool_hosts=1.0).run(80)
    for metric in host.spec.catalogue.names:
        assert (getattr(host, metric) == getattr(pool, metric)).all(), metric


def test_a_larger_pool_with_as_much_more_demand_reads_the_same(steady):
    host = steady().run(60)
    pool = steady("pool", requests=100.0 * 1000, events=80.0 * 1000, pool_hosts=1000.0).run(60)
    for metric in host.spec.catalogue.names:
        np.testing.assert_allclose(getattr(pool, metric), getattr(host, metric), rtol=1e-9, atol=1e-9)
    assert pool.plant.totals["requests_arrived"] == pytest.approx(100.0 * 1000 * 60)


def test_hosts_are_ready_after_their_start_up_time_and_not_before(steady):
    system = steady("pool", pool_hosts=4.0).run(10)
    system.set(pool_hosts=9.0)
    ready = system.run(80).pool_ready_hosts
    assert (ready[: int(STARTUP)] == 4).all()
    assert (ready[int(STARTUP * 16 / 15) + 1 :] == 9).all()


def test_hosts_are_taken_away_at_once_and_their_work_is_spread_over_the_others(steady):
    system = steady("pool", requests=100.0 * 8, pool_hosts=8.0).run(30)
    system.set(pool_hosts=4.0)
    after = system.run(10)
    assert (after.pool_ready_hosts == 4).all()
    assert after.serving_arrivals_per_second == pytest.approx(200.0)


def test_hosts_that_are_still_starting_go_first(steady):
    system = steady("pool", pool_hosts=4.0).run(10)
    system.set(pool_hosts=9.0)
    system.run(30)
    system.set(pool_hosts=6.0)
    ready = system.run(60).pool_ready_hosts
    assert (ready[:30] == 4).all()
    assert ready[-1] == 6


def test_taking_away_and_giving_back_costs_a_start_up(steady):
    system = steady("pool", pool_hosts=5.0).run(10)
    system.set(pool_hosts=2.0)
    system.run(1)
    system.set(pool_hosts=5.0)
    assert (system.run(55).pool_ready_hosts == 2).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(0.5, 90.0)), min_size=1, max_size=30), st.floats(1.0, 200.0))
def test_ready_hosts_are_the_least_that_was_wanted_for_a_start_up_time(steps, startup):
    pool, now, past = Pool(1), 0.0, [(0.0, steps[0][0])]
    pool.begin(np.array([steps[0][0]]), np.array([0]))
    for wanted, seconds in steps:
        past.append((now, wanted))
        pool.advance(np.array([float(wanted)]), np.array([now]), np.array([startup]))
        certain = min([wanted, *(hosts for hosts, end in in_force(past) if end > now - startup)])
        longest = min([wanted, *(hosts for hosts, end in in_force(past) if end > now - startup * 16 / 15 - 1e-6)])
        assert longest <= pool.ready[0] <= certain
        now += seconds


def in_force(past):
    """Each number of hosts, and until when it was in force."""
    return [(hosts, end) for (_, hosts), (end, _) in pairwise(past)]


def test_the_demand_of_a_pool_is_sized_for_its_default_number_of_hosts():
    host, pool = (
        SimulatedPlant(spec, default_demands(1.0)[:1], noise=False) for spec in (SystemSpec.load("reference"), POOL)
    )
    host.advance(1.0), pool.advance(1.0)
    hosts = POOL.default_setting[POOL.knob_index("pool_hosts")]
    assert pool.totals["requests_arrived"] == pytest.approx(hosts * host.totals["requests_arrived"])
    small = SimulatedPlant(POOL, default_demands(1.0)[:1], noise=False, pool_scale=1.0)
    small.advance(1.0)
    assert small.totals["requests_arrived"] == pytest.approx(host.totals["requests_arrived"])


def test_half_a_host_is_refused():
    knobs = [k.model_copy(update={"integer": False}) if k.name == "pool_hosts" else k for k in POOL.knobs]
    with pytest.raises(SpecError, match="pool_hosts"):
        SimulatedPlant(POOL.model_copy(update={"knobs": knobs}), default_demands(1.0)[:1])
