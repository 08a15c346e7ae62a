import json
import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import knob_file
from controller.actuators.actuator import ActuatorError
from controller.actuators.file import FileKnobs
from controller.components import Component
from controller.knob_file import KnobFileError
from controller.revert import revert_all
from telemetry.processes import process_start

TOML = """# tuned by hand
[loader]
workers = 4   # per reader
prefetch = 0.50

[model]
workers = 1
name = "digits"
"""
JSON = '{"loader": {"workers": 4, "prefetch": 0.50}, "name": "digits"}\n'
KEYS = {"training_loader_workers": "loader.workers", "training_prefetch": "loader.prefetch"}


@pytest.fixture(params=["toml", "json"])
def path(request, tmp_path):
    path = tmp_path / f"knobs.{request.param}"
    path.write_text({"toml": TOML, "json": JSON}[request.param])
    path.chmod(0o640)
    return path


@pytest.fixture
def actuator(path):
    return FileKnobs("training", KEYS, Component("training", ""), str(path), "")


def content(path):
    return tomllib.loads(path.read_text()) if path.suffix == ".toml" else json.loads(path.read_text())


def test_values_are_replaced_and_all_else_stays(actuator, path):
    assert actuator.read() == {"training_loader_workers": 4.0, "training_prefetch": 0.5}
    assert actuator.apply({"training_loader_workers": 8.0}) == {
        "training_loader_workers": 8.0,
        "training_prefetch": 0.5,
    }
    found = content(path)
    assert found["loader"] == {"workers": 8, "prefetch": 0.5}
    assert "digits" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640


def test_comments_and_other_tables_of_toml_stay(tmp_path):
    path = tmp_path / "knobs.toml"
    path.write_text(TOML)
    FileKnobs("training", KEYS, Component("training", ""), str(path), "").apply({"training_loader_workers": 8.0})
    assert path.read_text() == TOML.replace("workers = 4 ", "workers = 8 ")


@pytest.mark.parametrize("by_warden", [False, True])
def test_the_file_is_restored_byte_for_byte(actuator, path, by_warden):
    found, steps = path.read_bytes(), actuator.revert_steps()
    actuator.apply({"training_loader_workers": 8.0, "training_prefetch": 0.25})
    assert path.read_bytes() != found
    if by_warden:
        assert revert_all(steps) == ([], [])
        assert revert_all(steps) == ([], [])
    else:
        actuator.undo()
        actuator.undo()
    assert path.read_bytes() == found


@pytest.mark.clause("A4")
@pytest.mark.parametrize("by_warden", [False, True])
def test_what_somebody_else_changed_meanwhile_is_kept(actuator, path, by_warden):
    steps = actuator.revert_steps()
    actuator.apply({"training_loader_workers": 8.0})
    path.write_text(path.read_text().replace("digits", "letters"))
    revert_all(steps) if by_warden else actuator.undo()
    assert content(path)["loader"]["workers"] == 4
    assert "letters" in path.read_text()


def test_nothing_is_written_where_the_values_stand_there_already(actuator, path):
    former = path.stat()
    actuator.apply({"training_loader_workers": 4.0})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (former.st_ino, former.st_mtime_ns)


def test_a_reader_sees_the_old_file_or_the_new_one(actuator, path):
    with path.open() as reader:
        actuator.apply({"training_loader_workers": 8.0})
        assert reader.read() in (TOML, JSON)
    assert [entry for entry in os.listdir(path.parent) if entry.endswith(".tmp")] == []


def test_a_link_goes_on_leading_to_the_file(actuator, path, tmp_path):
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    linked = FileKnobs("training", KEYS, Component("training", ""), str(link), "")
    linked.apply({"training_loader_workers": 8.0})
    assert link.is_symlink()
    assert actuator.read()["training_loader_workers"] == 8.0


def test_the_component_gets_its_signal_after_a_change_and_after_the_way_back(path, run_python):
    script = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: print("read again", flush=True))
print("ready", flush=True)
while True: signal.pause()
"""
    process = run_python(script)
    component = Component("training", "", process.pid, process_start(process.pid))
    actuator = FileKnobs("training", KEYS, component, str(path), "SIGHUP")
    assert "SIGHUP" in actuator.probe().reason
    actuator.apply({"training_loader_workers": 8.0})
    assert process.stdout.readline() == "read again\n"
    assert revert_all(actuator.revert_steps()) == ([], [])
    assert process.stdout.readline() == "read again\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[1]", "a JSON object is needed"),
        ('{"loader": 3}', "no number for 'loader.workers'"),
        ('{"loader": {"workers": true, "prefetch": 1}}', "no number for 'loader.workers'"),
        ('{"loader": {"workers": NaN, "prefetch": 1}}', "no number for 'loader.workers'"),
    ],
)
def test_a_file_that_is_none_of_knobs_is_an_error_in_one_line(tmp_path, text, message):
    path = tmp_path / "knobs.json"
    path.write_text(text)
    actuator = FileKnobs("training", KEYS, Component("training", ""), str(path), "")
    assert message in actuator.probe().reason
    with pytest.raises(ActuatorError, match=message) as caught:
        actuator.apply({"training_loader_workers": 8.0})
    assert "\n" not in str(caught.value)
    assert path.read_text() == text


def test_a_missing_file_is_not_made(tmp_path):
    actuator = FileKnobs("training", KEYS, Component("training", ""), str(tmp_path / "no.json"), "")
    assert "cannot read" in actuator.probe().reason
    actuator.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["loader = {workers = 4}\n", '[loader]\ntext = """\nworkers = 4\n"""\nworkers = 4\n'])
def test_toml_that_cannot_be_replaced_safely_is_refused(text):
    with pytest.raises(KnobFileError, match="cannot be replaced"):
        knob_file.changed("a.toml", text, {"loader.workers": 8.0})


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.sampled_from(["loader.workers", "loader.prefetch", "model.workers"]), finite))
def test_any_values_that_are_written_to_toml_are_read_back(values):
    text = knob_file.changed("a.toml", TOML, values)
    found = tomllib.loads(text)
    for key, value in values.items():
        table, name = key.split(".")
        assert found[table][name] == value
    assert found["model"]["name"] == "digits"
