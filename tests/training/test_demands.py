import numpy as np
import pytest

from telemetry.workload import Demand
from training.demands import DemandConfig, fit_demand, load_demands


def demand(steps: int, step_seconds: float) -> Demand:
    return Demand("day", step_seconds, np.linspace(1.0, 2.0, steps), np.ones(steps), "test")


def test_a_day_is_compressed_to_an_episode_and_says_so():
    fitted = fit_demand(demand(1440, 60.0), episode_seconds=600.0, period_seconds=1.0)
    assert fitted.name == "day x144"
    assert len(fitted) == 600
    assert fitted.duration == pytest.approx(600.0)
    assert fitted.requests_per_second.mean() == pytest.approx(1.5, rel=1e-3)


def test_a_demand_shorter_than_an_episode_keeps_its_speed():
    fitted = fit_demand(demand(100, 1.0), episode_seconds=600.0, period_seconds=1.0)
    assert fitted.name == "day"
    assert fitted.duration == 100.0


def test_every_family_and_seed_gives_one_demand():
    config = DemandConfig(families=("smd", "servegen"), seeds=(1, 2, 3), episode_seconds=120.0)
    demands = load_demands(config, 1.0)
    assert len({d.name for d in demands}) == 6
    assert all(len(d) == 120 for d in demands)


def test_real_traces_are_added(tmp_path):
    (tmp_path / "mine.csv").write_text("t,rate\n" + "".join(f"{60 * i},{i}\n" for i in range(30)))
    config = DemandConfig(families=(), traces=str(tmp_path), episode_seconds=300.0)
    (mine,) = load_demands(config, 1.0)
    assert mine.name.endswith("x6")
