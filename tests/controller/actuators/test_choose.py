import json

import pytest

from controller.actuators.callback import CallbackKnobs
from controller.actuators.choose import build_actuators
from controller.components import Component
from envs.spec import SpecError, SystemSpec
from telemetry.processes import process_start


@pytest.fixture
def components(child):
    process = {"pid": child.pid, "start": process_start(child.pid)}
    return {name: Component(name, "http://127.0.0.1:9", **process) for name in ("serving", "training", "ingest")}


def spec_with(tmp_path, *knobs):
    """The reference spec and some knobs of training."""
    path = tmp_path / "spec.toml"
    defaults = {"workload": "training", "role": "tuning", "low": 1, "high": 64, "default": 8, "unit": "x"}
    blocks = [
        "[[knobs]]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in {**defaults, **knob}.items())
        for knob in knobs
    ]
    path.write_text('extends = "reference"\n' + "\n".join(blocks))
    return SystemSpec.load(path)


@pytest.fixture
def build(components):
    built = []

    def build(spec, **options):
        built.append(build_actuators(spec, components, **options))
        return built[-1]

    yield build
    for actuators in built:
        actuators.undo()


@pytest.mark.parametrize("name", ["reference", "host", "pool"])
def test_every_knob_has_exactly_one_actuator(build, name):
    spec = SystemSpec.load(name)
    names = [knob for actuator in build(spec).used for knob in actuator.knobs]
    assert sorted(names) == sorted(spec.knob_names)


def test_what_does_not_work_says_why(build):
    report = build(SystemSpec.load("pool")).report()
    assert "off: Absent of serving: actuator 'host' is for simulated hosts" in report
    assert "nothing works here for actuator 'network'" in build(SystemSpec.load("host")).report()


def test_a_weight_of_its_own_is_not_changed_with_the_quota(build):
    actuators = build(SystemSpec.load("host"))
    cpu, weight = (
        next(a for a in actuators.of("serving") if knob in a.knobs)
        for knob in ("serving_cpu_cores", "serving_cpu_weight")
    )
    if "quota" not in actuators.report():
        pytest.skip("control groups cannot be made here")
    weight.apply({"serving_cpu_weight": 300.0})
    cpu.apply({"serving_cpu_cores": 0.4})
    assert weight.read()["serving_cpu_weight"] == pytest.approx(300.0, rel=1e-2)
    assert cpu.read()["serving_cpu_cores"] == pytest.approx(0.4)


def test_knobs_in_one_file_are_set_together(build, tmp_path):
    path = tmp_path / "loader.json"
    path.write_text('{"workers": 4, "cache": {"training_files": 8}}')
    spec = spec_with(
        tmp_path,
        {"name": "training_workers", "actuator": "file", "target": f"{path}#workers"},
        {"name": "training_files", "actuator": "file", "target": f"{path}#cache.training_files"},
    )
    actuator = next(a for a in build(spec).of("training") if "training_workers" in a.knobs)
    assert actuator.apply({"training_workers": 6.0, "training_files": 9.0}) == {
        "training_workers": 6.0, "training_files": 9.0,
    }  # fmt: skip
    assert json.loads(path.read_text()) == {"workers": 6, "cache": {"training_files": 9}}


def test_a_function_of_the_caller_serves_its_knob(build, tmp_path):
    settings = {"training_depth": 8.0}
    own = CallbackKnobs("training", settings.copy, settings.update)
    spec = spec_with(tmp_path, {"name": "training_depth", "actuator": "callback"})
    assert own in build(spec, own=[own]).used
    assert "no function was given for it" in build(spec).report()


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"actuator": "file"}, "actuator 'file' needs target, a path"),
        ({"actuator": "rlimit"}, "needs target, a resource such as 'nofile'"),
        ({"actuator": "memory", "reload": "SIGHUP"}, "reload is for actuator 'file', given 'memory'"),
        ({"actuator": "ram"}, "actuator: must be one of 'cpu', 'cpu_weight'"),
    ],
)
def test_a_knob_without_what_its_actuator_needs_is_refused_in_one_line(tmp_path, knob, message):
    with pytest.raises(SpecError, match=message) as caught:
        spec_with(tmp_path, {"name": "training_x", **knob})
    assert "\n" not in str(caught.value)
