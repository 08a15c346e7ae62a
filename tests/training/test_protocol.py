import gzip
from importlib import resources
from pathlib import Path

import pytest

from telemetry.public_traces import demands_in
from training.config import TrainingConfig
from training.demands import DemandConfig, load_demands
from training.protocol import SETS, ProtocolError, demands_hash, file_hash, load_protocol, trace_status

TRACES = Path(__file__).parents[3] / "shared" / "traces"
SEEDS = '[train]\nseeds = [1]\nsha256 = ""\n[validation]\nseeds = [2]\nsha256 = ""\n[test]\nseeds = [3]\nsha256 = ""\n'


def declared(name, source, digest, more=""):
    return f'[[traces]]\nset = "{name}"\nsource = "{source}"\nfile = "{source}.csv"\nsha256 = "{digest * 64}"\n{more}\n'


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "protocol.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("name", SETS)
def test_the_generator_still_makes_the_declared_days(name):
    # If this fails because the generator was changed on purpose: policies, references and results must be made anew.
    assert load_protocol().generated(name)["agrees"]


@pytest.mark.parametrize("task", ["allocation", "tuning", "joint"])
def test_trainings_learn_and_select_on_the_days_that_the_protocol_declares(task):
    config, protocol = TrainingConfig.load(None, task), load_protocol()
    assert (config.demands.seeds, config.validation.seeds) == (protocol.seeds("train"), protocol.seeds("validation"))
    assert config.demands.families == config.validation.families == protocol.families
    assert config.demands.traces is None
    assert config.validation.traces is None


@pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces are not here")
def test_the_declared_public_traces_are_the_ones_that_are_here():
    assert set(load_protocol().verify(TRACES).values()) == {"ok"}


def test_no_trace_content_is_shipped():
    names = [file.name for file in (resources.files("training") / "configs").iterdir()]
    assert not [name for name in names if name.endswith((".gz", ".csv"))]


def test_another_generator_gives_another_hash():
    days = [load_demands(DemandConfig(families=("smd",), seeds=(seed,)), 1.0) for seed in (1, 1, 2)]
    assert demands_hash(days[0]) == demands_hash(days[1]) != demands_hash(days[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SEEDS.replace("[3]", "[3, 1]"), "seed 1 is in train and in test"),
        (SEEDS.replace("[2]", "[3]"), "seed 3 is in validation and in test"),
        (SEEDS + declared("test", "mine", "a") + declared("train", "mine", "b"), "'mine' is in test"),
        (SEEDS + declared("test", "mine", "a") + declared("train", "other", "a"), "same content"),
        (
            SEEDS + declared("test", "mine", "a", "days = [0, 9]") + declared("train", "mine", "b", "days = [8, 12]"),
            "must not overlap",
        ),
        (SEEDS + "tests = 3", "test: unknown key 'tests'; known keys: seeds, sha256"),
        (SEEDS + declared("exam", "mine", "a"), r"traces\.0\.set"),
        (SEEDS.replace("seeds = [3]", "seeds = []"), r"test\.seeds"),
        ("[train", "not valid TOML"),
    ],
)
def test_sets_that_overlap_and_files_that_are_wrong_are_refused_in_one_line(written, text, message):
    with pytest.raises(ProtocolError, match=message) as refused:
        load_protocol(written(text))
    assert "\n" not in str(refused.value)


def test_one_source_may_be_split_by_time(written):
    split = declared("train", "mine", "a", "days = [0, 7]") + declared("test", "mine", "b", "days = [7, 14]")
    assert len(load_protocol(written(SEEDS + split)).traces) == 2


def test_a_missing_protocol_is_named(tmp_path):
    with pytest.raises(ProtocolError, match=r"nowhere\.toml"):
        load_protocol(tmp_path / "nowhere.toml")


def test_missing_and_changed_files_are_told_apart(tmp_path, written):
    for name in ("good", "bad"):
        (tmp_path / f"{name}.csv").write_bytes(gzip.compress(b"t,rate\n0,1\n60,2\n", mtime=0))
    digest = file_hash(tmp_path / "good.csv")
    text = SEEDS + "".join(
        declared("test", name, "a").replace("a" * 64, digest if name == "good" else digit * 64)
        for name, digit in (("good", "0"), ("bad", "1"), ("gone", "2"))
    )
    found = load_protocol(written(text)).verify(tmp_path)
    assert found == {"good.csv": "ok", "bad.csv": "other content", "gone.csv": "missing"}


def test_a_trace_that_nobody_declared_is_yours(tmp_path):
    (tmp_path / "mine.csv").write_text("t,rate\n" + "".join(f"{60 * i},{i}\n" for i in range(30)))
    (line,) = trace_status(load_protocol(), demands_in(tmp_path))
    assert (line["set"], line["file"]) == ("yours", "mine.csv")


def test_a_declared_trace_is_known_by_its_content_wherever_it_lies(tmp_path, written):
    trace = tmp_path / "elsewhere" / "renamed.csv"
    trace.parent.mkdir()
    trace.write_text("t,rate\n" + "".join(f"{60 * i},{i}\n" for i in range(30)))
    protocol = load_protocol(written(SEEDS + declared("test", "known", "a").replace("a" * 64, file_hash(trace))))
    (line,) = trace_status(protocol, demands_in(trace.parent))
    assert (line["set"], line["file"]) == ("test", "known.csv")
