"""What runs for months loads nothing that it does not need: a module too many is memory that is never given back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEVER = {"typer", "click", "rich", "pydantic", "psutil", "pyarrow", "gymnasium", "torch", "starlette", "asyncio",
         "multiprocessing", "unittest", "ssl", "_ssl", "email", "http.client", "importlib.metadata",
         "numpy.random", "numpy.fft", "numpy.polynomial", "numpy.testing", "training", "testbed"}  # fmt: skip


def loaded_by(*command: str) -> tuple[set[str], list[str]]:
    """Modules that a program of ours loads until it ends, and its other lines on stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, timeout=30, env=environment
    )
    lines = done.stderr.splitlines()
    names = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    return names, [line for line in lines if not line.startswith("import time:")]


@pytest.mark.clause("L9")
def test_the_running_controller_loads_no_command_line_no_validator_and_no_openssl(tmp_path):
    options = {
        "components": str(tmp_path / "nowhere.json"), "spec": "reference", "mode": "shadow", "policy": None,
        "state_dir": str(tmp_path / "state"), "config": None, "trust": None, "probation": 0.0, "policy_process": True,
    }  # fmt: skip
    names, lines = loaded_by("-P", "-m", "controller.service", json.dumps(options))
    assert lines[-1].startswith("error: no ")  # everything is loaded by then, and the policies have answered
    assert {"numpy", "controller.kernel", "controller.policy_host"} <= names
    assert NEVER & names == set()
    assert {"_sha256", "_sha2"} & names  # in place of OpenSSL's


@pytest.mark.clause("L9")
def test_the_warden_loads_no_numpy_and_nothing_that_it_does_not_revert_with(tmp_path):
    names, lines = loaded_by("-S", "-m", "controller.warden", str(tmp_path), "999999999", "1")
    assert lines == []
    assert "controller.revert" in names
    more = {"numpy", "logging", "dataclasses", "inspect", "hashlib", "pathlib", "concurrent", "urllib", "tempfile"}
    assert (NEVER | more) & names == set()
