import json
import shutil

import numpy as np
import pytest

from agents.artifact import ArtifactError, save, shipped_directory
from agents.network import MlpPolicy
from envs.spec import Role
from envs.task import JOINT, Task
from telemetry.public_traces import TraceError
from training.heuristics import HEURISTICS
from training.judging import JudgingConfig, Learned, check_unseen, contestants, trained_on, unseen_demands
from training.protocol import ProtocolError, file_hash, load_protocol

TRACE = "t,rate\n" + "".join(f"{60 * i},{i + 1}\n" for i in range(30))


def artifact(folder, spec, name, **card):
    """A policy that never moves anything, as an artifact."""
    task = Task(spec, name)
    layer = (np.zeros((task.n_action, task.n_observation), np.float32), np.zeros(task.n_action, np.float32))
    save(folder / name, MlpPolicy([layer], f"ppo-{name}"), task, card)


@pytest.fixture(scope="module")
def shipped(spec):
    return Learned.load(shipped_directory(Role.ALLOCATION).parent, spec)


def protocol_with(tmp_path, name, trace):
    file = tmp_path / "protocol.toml"
    days = "".join(
        f'[{one}]\nseeds = [{seed}]\nsha256 = ""\n'
        for one, seed in zip(("train", "validation", "test"), "123", strict=True)
    )
    declared = f'[[traces]]\nset = "{name}"\nsource = "mine"\nfile = "mine.csv"\nsha256 = "{file_hash(trace)}"\n'
    file.write_text(days + declared)
    return load_protocol(file)


@pytest.fixture
def traces(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    (folder / "mine.csv").write_text(TRACE)
    (folder / "other.csv").write_text(TRACE.replace(",30", ",31"))
    return folder


def test_the_shipped_policies_meet_every_reference(spec, shipped):
    found = contestants(spec, [shipped])
    kinds = {name: contestant.kind for name, contestant in found.items()}
    assert {h.name for h in HEURISTICS} == {name for name, kind in kinds.items() if kind == "rule"}
    assert kinds["static"] == kinds["best_static"] == "static"
    assert kinds["oracle"] == "oracle"
    assert {"ppo", "ppo-allocation", "ppo-tuning"} <= {name for name, kind in kinds.items() if kind == "learned"}
    assert found["best_static"].obtained_seconds > 0
    assert found["aimd"].obtained_seconds > 0
    assert found["static"].obtained_seconds is None


def test_each_folder_is_a_training_seed(spec, shipped):
    found = contestants(spec, [shipped, shipped, shipped])
    assert len(found["ppo"].policies) == len(found["ppo-allocation"].policies) == 3
    assert len(found["aimd"].policies) == 1


def test_one_role_alone_is_judged_with_the_best_static_setting_for_the_rest(tmp_path, spec):
    artifact(tmp_path, spec, "allocation", training_seconds=12.0)
    found = contestants(spec, [Learned.load(tmp_path, spec)])
    assert [name for name in found if name.startswith("ppo")] == ["ppo"]
    assert found["ppo"].policies[0][Role.ALLOCATION].name == "ppo-allocation"
    assert found["ppo"].policies[0][Role.TUNING].name == "best_static"
    assert found["ppo"].obtained_seconds == 12.0


def test_a_policy_for_all_knobs_is_a_contestant_of_its_own(tmp_path, spec):
    artifact(tmp_path, spec, JOINT)
    found = contestants(spec, [Learned.load(tmp_path, spec)])
    assert [name for name in found if name.startswith("ppo")] == ["ppo-joint"]
    assert set(found["ppo-joint"].policies[0]) == {JOINT}


def test_time_to_obtain_both_policies_is_unknown_where_one_is(tmp_path, spec):
    artifact(tmp_path, spec, "allocation", training_seconds=12.0)
    artifact(tmp_path, spec, "tuning")
    found = contestants(spec, [Learned.load(tmp_path, spec)])
    assert found["ppo"].obtained_seconds is None
    assert found["ppo-allocation"].obtained_seconds == 12.0


def test_a_folder_without_any_policy_is_refused(tmp_path, spec):
    with pytest.raises(ArtifactError, match="holds no policy"):
        Learned.load(tmp_path, spec)


@pytest.mark.parametrize("use", ["demands", "validation"])
def test_a_policy_that_saw_a_test_day_is_refused(tmp_path, spec, use):
    artifact(tmp_path, spec, "tuning", training={use: {"seeds": [1, 9002]}})
    with pytest.raises(ProtocolError, match=f"saw test day 9002 in its {use}"):
        check_unseen(tmp_path, load_protocol())


def test_the_shipped_policies_saw_no_test_day():
    check_unseen(shipped_directory(Role.ALLOCATION).parent, load_protocol())


def test_without_traces_the_protocols_test_days_are_taken(spec):
    protocol = load_protocol()
    demands, known = unseen_demands(spec, protocol, JudgingConfig())
    assert len(demands) == len(protocol.families) * len(protocol.seeds("test"))
    assert known["generated"]["agrees"] is True


def test_your_own_traces_are_judged_on_and_said_to_be_yours(spec, traces):
    demands, known = unseen_demands(spec, load_protocol(), JudgingConfig(traces=traces))
    assert len(demands) == 2
    assert [line["set"] for line in known["traces"]] == ["yours", "yours"]


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_trace_that_is_declared_as_training_data_is_refused(spec, tmp_path, traces, name):
    protocol = protocol_with(tmp_path, name, traces / "mine.csv")
    with pytest.raises(ProtocolError, match=rf"mine\.csv \({name}\)"):
        unseen_demands(spec, protocol, JudgingConfig(traces=traces))


def test_the_declared_test_traces_alone_can_be_asked_for(spec, tmp_path, traces):
    protocol = protocol_with(tmp_path, "test", traces / "mine.csv")
    demands, known = unseen_demands(spec, protocol, JudgingConfig(traces=traces, only_declared=True))
    assert len(demands) == 1
    assert known["traces"][0]["file"] == "mine.csv"
    assert known["declared"] == {"mine.csv": "ok"}
    with pytest.raises(ProtocolError, match="declared as test data"):
        unseen_demands(spec, load_protocol(), JudgingConfig(traces=traces, only_declared=True))


def test_traces_that_a_policy_was_trained_on_are_known_by_its_card(tmp_path, spec, traces):
    artifact(tmp_path, spec, "tuning", training={"demands": {"traces": str(traces)}})
    assert trained_on([tmp_path]) == {file_hash(traces / "mine.csv"), file_hash(traces / "other.csv")}
    assert trained_on([shipped_directory(Role.TUNING).parent]) == set()


def test_a_folder_without_traces_is_refused(spec, tmp_path):
    with pytest.raises(TraceError, match="it is empty"):
        unseen_demands(spec, load_protocol(), JudgingConfig(traces=tmp_path))


def test_a_damaged_card_is_refused(tmp_path, spec):
    shutil.copytree(shipped_directory(Role.TUNING), tmp_path / "tuning")
    (tmp_path / "tuning" / "policy.json").write_text(json.dumps([1]))
    with pytest.raises(ArtifactError, match="must hold an object"):
        check_unseen(tmp_path, load_protocol())
