"""The command line, run as its user runs it: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "envs/specs/reference.toml"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trimtab(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "trimtab", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def assert_one_clear_line(done: subprocess.CompletedProcess, *parts: str) -> None:
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]


def test_validate_tells_what_a_spec_holds():
    done = trimtab("validate", "reference")
    assert done.returncode == 0
    assert "3 allocation and 9 tuning knobs" in done.stdout


def test_an_unknown_key_in_a_spec_names_the_closest_known_one(tmp_path):
    spec = tmp_path / "spec.toml"
    with open(SPEC) as file:
        spec.write_text(file.read().replace("max_step", "max_stp", 1))
    assert_one_clear_line(trimtab("validate", str(spec)), "max_stp", "did you mean 'max_step'")


def test_a_missing_spec_is_one_line():
    assert_one_clear_line(trimtab("validate", "nowhere.toml"), "nowhere.toml")


def test_a_truncated_trace_is_one_line(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    assert trimtab("trace", "generate", str(whole), "--hours", "1").returncode == 0
    cut.write_bytes(whole.read_bytes()[:-100])
    assert_one_clear_line(trimtab("trace", "show", str(cut)), "cut.parquet")


def test_a_generated_trace_can_be_shown_and_converted(tmp_path):
    parquet, csv = tmp_path / "day.parquet", tmp_path / "day.csv"
    assert trimtab("trace", "generate", str(parquet), "--hours", "2", "--seed", "3").returncode == 0
    assert trimtab("trace", "convert", str(parquet), str(csv)).returncode == 0
    shown = json.loads(trimtab("trace", "show", str(csv), "--json").stdout)
    assert shown["series"][0]["steps"] == 120


@pytest.mark.parametrize(
    "arguments",
    [
        ("record", "--components", "nowhere.json", "--out", "trace"),
        ("control", "run", "--components", "nowhere.json"),
        ("control", "status", "--state-dir", "nowhere"),
        ("calibrate", "nowhere.parquet"),
        ("evaluate", "--policy", "nowhere"),
        ("evaluate", "--traces", "nowhere"),
        ("train", "--task", "tuning", "--config", "nowhere.toml"),
        ("trace", "show", "nowhere.csv"),
        ("demo", "--trace", "nowhere.csv"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_something_that_is_not_there_is_one_line_and_leaves_nothing_of_that_name(arguments, tmp_path):
    assert_one_clear_line(trimtab(*arguments), "nowhere")
    assert not list(tmp_path.rglob("*nowhere*"))


def test_an_artifact_of_another_spec_is_refused_with_both_fingerprints(tmp_path):
    spec = tmp_path / "other.toml"
    with open(SPEC) as file:
        spec.write_text(file.read().replace("window_periods = 5", "window_periods = 6"))
    assert_one_clear_line(trimtab("evaluate", "--spec", str(spec), "--seeds", "1"), "fingerprint")


def test_a_folder_with_an_earlier_demo_is_left_alone(tmp_path):
    (tmp_path / "journal.jsonl").write_text("")
    assert_one_clear_line(trimtab("demo", "--out", str(tmp_path)), "earlier demo")
