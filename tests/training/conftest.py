"""The fixtures of this folder: the reference system, and one small evaluation that is made once."""

from typing import Any

import pytest

from agents.heuristics.static import StaticPolicy
from envs.spec import Role, SystemSpec
from envs.task import Task
from training.demands import DemandConfig, load_demands
from training.evaluate import Contestant, EvaluationConfig, run_evaluate


@pytest.fixture(scope="session")
def spec() -> SystemSpec:
    return SystemSpec.load("reference")


@pytest.fixture(scope="session")
def evaluation(spec) -> dict[str, Any]:
    """Five settings that differ in the cores of ingest, whose work is the same, on two demands."""

    def held(cores):
        setting = spec.default_setting
        for name, value in (("serving_threads", 1), ("training_threads", 1), ("ingest_cpu_cores", cores)):
            setting[spec.knob_index(name)] = value
        return {role: StaticPolicy(Task(spec, role), setting) for role in Role}

    contestants = {
        "static": Contestant("static", (held(0.5),)),
        "best_static": Contestant("static", (held(0.5),)),
        "threshold": Contestant("rule", (held(0.4),)),
        "oracle": Contestant("oracle", (held(0.2),)),
        "ppo": Contestant("learned", (held(0.25),)),
    }
    demands = load_demands(DemandConfig(families=("smd", "servegen"), seeds=(5,), episode_seconds=60.0), 1.0)
    config = EvaluationConfig(seeds=(0, 1), episode_seconds=60.0, peak_share=0.3)
    traces = [{"trace": "mine", "file": "mine.csv", "sha256": "ab" * 32, "set": "yours"}]
    return run_evaluate(spec, contestants, demands, config=config) | {"protocol": {"traces": traces}}
