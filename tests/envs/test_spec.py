"""SystemSpec: every mistake is one line that says what was given and what is known."""

from importlib import resources

import numpy as np
import pytest

from envs.spec import SpecError, SystemSpec

REFERENCE = (resources.files("envs") / "specs" / "reference.toml").read_text()


@pytest.fixture(scope="module")
def spec() -> SystemSpec:
    return SystemSpec.load("reference")


def load(tmp_path, text: str) -> SystemSpec:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return SystemSpec.load(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores = 1.5", "cores = 1.5\ncoers = 2", "unknown key 'coers'; did you mean 'cores'?"),
        ('at_least = 0.95', 'at_laest = 0.95', "did you mean 'at_least'?"),
        ("cores = 1.5", "cores = -1.5", "cores: must be a number > 0 (given -1.5)"),
        ("cores = 1.5", "cores = nan", "cores"),
        ('metric = "ingest_lag_seconds"', 'metric = "ingest_lag"', "did you mean 'ingest_lag_seconds'?"),
        ('cpu_knob = "serving_cpu_cores"', 'cpu_knob = "serving_cpu"', "did you mean 'serving_cpu_cores'?"),
        ('name = "training_cpu_cores"', 'name = "serving_cpu_cores"', "knob named twice: serving_cpu_cores"),
        ("at_least = 0.95", "at_least = 0.95\nat_most = 1.0", "exactly one of at_most, at_least"),
        ("high = 256\ndefault = 32", "high = 256\ndefault = 512", "default 512.0 is outside [8.0, 256.0]"),
        ("low = 8\nhigh = 256", "low = 512\nhigh = 256", "low 512.0 must be below high 256.0"),
        ("low = 0.1\nhigh = 1.3", "low = 0.0\nhigh = 1.3", "log scale needs low > 0"),
        ("window_periods = 5", "window_periods = 1", "window_periods"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_in_one_line(tmp_path, old, new, message):
    assert old in REFERENCE
    with pytest.raises(SpecError) as error:
        load(tmp_path, REFERENCE.replace(old, new, 1))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["cores = ", "\x00", ""])
def test_a_file_that_is_no_spec_is_refused(tmp_path, text):
    with pytest.raises(SpecError):
        load(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.toml"):
        SystemSpec.load(tmp_path / "nowhere.toml")


def test_unknown_knob_suggests_the_closest(spec):
    with pytest.raises(SpecError, match="did you mean 'serving_threads'"):
        spec.knob_index("serving_thread")


def test_default_setting_is_in_the_order_of_the_knobs(spec):
    assert spec.default_setting[spec.knob_index("ingest_cache_entries")] == 512
    assert spec.default_setting.dtype == np.float64


def test_fingerprint_follows_what_is_seen_and_not_what_is_wanted(tmp_path, spec):
    dearer = load(tmp_path, REFERENCE.replace("cpu_cores = 1.0", "cpu_cores = 2.0"))
    wider = load(tmp_path, REFERENCE.replace("high = 256\ndefault = 32", "high = 512\ndefault = 32"))
    assert dearer.fingerprint == spec.fingerprint != wider.fingerprint


@pytest.mark.parametrize("name", ["host", "pool"])
def test_a_spec_that_extends_another_has_all_of_it_and_more(name):
    base, extended = SystemSpec.load("reference"), SystemSpec.load(name)
    assert extended.metrics[: len(base.metrics)] == base.metrics
    assert extended.knobs[: len(base.knobs)] == base.knobs
    assert len(extended.knobs) > len(base.knobs)
    assert extended.workloads["serving"].done == base.workloads["serving"].done
    assert extended.fingerprint != base.fingerprint


def test_a_spec_may_extend_a_file_beside_it(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "reference"\nname = "mine"\n')
    (tmp_path / "ours.toml").write_text('extends = "mine.toml"\ncores = 7.0\n')
    ours = SystemSpec.load(tmp_path / "ours.toml")
    assert (ours.name, ours.cores) == ("mine", 7.0)


def test_a_spec_that_extends_nothing_known_is_named(tmp_path):
    (tmp_path / "lost.toml").write_text('extends = "nowhere"\n')
    with pytest.raises(SpecError, match="nowhere"):
        SystemSpec.load(tmp_path / "lost.toml")


@pytest.mark.parametrize(
    "text", ["cores = ", "cores = " + "9" * 5000], ids=["half a line", "more digits than Python reads"]
)
def test_a_file_that_is_no_toml_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match="not valid TOML") as told:
        SystemSpec.load(path)
    assert "\n" not in str(told.value)
