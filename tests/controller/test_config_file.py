from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.config import ControllerConfig
from controller.config_file import ConfigError, ConfigFile, load_config, parse_config
from controller.decision import Mode
from envs.spec import SystemSpec

GOOD = """
rollbacks_per_hour = 5
advice_seconds = 60

[shield]
cooldown_seconds = 4.0

[trial]
watch_periods = 3

[bounds]
serving_cpu_cores = [0.2, 1.0]

[modes]
training = "shadow"
"""


def written(path: Path, text: str | bytes) -> Path:
    """Replace the file, with another time than before even on a coarse file system."""
    former = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.utime(path, ns=(former + 10**9, former + 10**9))
    return path


def test_a_file_says_only_what_differs_from_the_defaults(spec: SystemSpec, tmp_path: Path) -> None:
    config = load_config(written(tmp_path / "c.toml", GOOD), spec)
    assert (config.rollbacks_per_hour, config.shield.cooldown_seconds, config.trial.watch_periods) == (5, 4.0, 3)
    assert config.bounds == {"serving_cpu_cores": (0.2, 1.0)}
    assert config.modes == {"training": Mode.SHADOW}
    assert config.blind_seconds == ControllerConfig().blind_seconds
    assert parse_config(b"", spec) == ControllerConfig()


def test_a_configuration_survives_the_journal(spec: SystemSpec) -> None:
    config = parse_config(GOOD.encode(), spec)
    assert ControllerConfig.of(json.loads(json.dumps(config.plain()))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rolbacks_per_hour = 3", "did you mean 'rollbacks_per_hour'.*known are: shield, trial"),
        ("[shield]\nfoo = 3", "unknown key 'shield.foo'; known are: stale_after_seconds"),
        ("shield = 3", "shield is a table, given 3"),
        ("blind_seconds = 'long'", "blind_seconds: .*given 'long'"),
        ("blind_seconds = true", "blind_seconds"),
        ("blind_seconds = nan", "blind_seconds"),
        ("blind_seconds = -1", "allowed is above 0 to 1e"),
        ("rollbacks_per_hour = -1", "allowed is from 0"),
        ("rollbacks_per_hour = 2.5", "a whole number"),
        ("blind_seconds = 1979-05-27", "blind_seconds"),
        ("canary_step = 1.5", "above 0 to 1"),
        ("[trial]\nwatch_periods = 0", "watch_periods is 0; allowed is above 0"),
        ("[trial]\nleast_baseline_periods = 9", "more than baseline_periods"),
        ("[trial]\nleast_baseline_periods = 1", "at least 2"),
        ("[trial]\nnoise_periods = 99999999999", "allowed is above 0 to 1e"),
        ("[bounds]\nserving_cpu_core = [0.2, 1]", "did you mean 'serving_cpu_cores'"),
        ("[bounds]\nserving_cpu_cores = [0.2, 99.0]", "may only narrow"),
        ("[bounds]\nserving_cpu_cores = [1.0, 0.2]", "may only narrow"),
        ("[bounds]\nserving_cpu_cores = 1.0", "bounds.serving_cpu_cores"),
        ("[modes]\nserve = 'act'", "unknown workload 'serve'; known are: serving, training, ingest"),
        ("[modes]\nserving = 'autopilot'", "modes.serving.*'off', 'shadow', 'advise', 'canary', 'act'"),
        ("[bounds]\nserving_batch_size = [8.2, 8.8]", "no whole number"),
        ("[bounds]\nserving_cpu_cores = [1.0, 1.2]\ntraining_cpu_cores = [0.8, 1.0]", "sum to 1.8.* 1.5 cores"),
        ("rollbacks_per_hour = 1" + "0" * 400, "rollbacks_per_hour is 1000.*; allowed is"),
        ("rollbacks_per_hour = 1" + "0" * 5000, "no valid TOML"),
        ("[bounds]\nserving_cpu_cores = [nan, nan]", "bounds is nan; allowed is from 0"),
        ("x = [", "no valid TOML"),
        ("a = " + "[" * 5000, "no valid TOML"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(spec: SystemSpec, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(written(tmp_path / "c.toml", text), spec)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(spec: SystemSpec, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ConfigFile(tmp_path / "none.toml", spec)


@pytest.mark.clause("L5")
def test_a_change_of_the_file_is_taken_over_once(spec: SystemSpec, tmp_path: Path) -> None:
    file = ConfigFile(written(tmp_path / "c.toml", GOOD), spec)
    assert file.poll() is None
    written(file.path, GOOD.replace("= 5", "= 7"))
    changed = file.poll()
    assert changed is not None
    assert changed.rollbacks_per_hour == 7
    assert file.config is changed
    assert file.poll() is None


@pytest.mark.clause("L5")
def test_a_broken_file_leaves_the_last_good_configuration_in_force(spec: SystemSpec, tmp_path: Path) -> None:
    file = ConfigFile(written(tmp_path / "c.toml", GOOD), spec)
    good = file.config
    written(file.path, GOOD + "[bounds")
    assert file.poll() is None
    assert file.config is good
    assert "the last good configuration stays in force" in str(file.problem)
    file.path.unlink()
    assert file.poll() is None
    assert "No such file" in str(file.problem)
    written(file.path, GOOD)
    assert file.poll() is None
    assert file.problem is None


def test_asked_to_the_file_is_read_again_though_it_looks_the_same(spec: SystemSpec, tmp_path: Path) -> None:
    file = ConfigFile(written(tmp_path / "c.toml", GOOD), spec)
    before = file.path.stat()
    file.path.write_text(GOOD.replace("= 5", "= 7"))
    os.utime(file.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.poll() is None
    file.ask()
    assert file.poll() is not None


def mutated(edits: list[tuple[int, int]]) -> bytes:
    """The good file with bytes put in other places' place."""
    content = bytearray(GOOD.encode())
    for position, byte in edits:
        content[position % len(content)] = byte
    return bytes(content)


EDITS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.clause("L5")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode), EDITS.map(mutated)))
def test_whatever_stands_in_the_file_a_valid_configuration_is_in_force(
    spec: SystemSpec, tmp_path: Path, content: bytes
) -> None:
    file = ConfigFile(written(tmp_path / "c.toml", GOOD), spec)
    good = file.config
    written(file.path, content)
    file.poll()
    try:
        expected = parse_config(content, spec)
    except ConfigError:
        assert file.config is good
        assert file.problem is not None
    else:
        assert file.config == expected
