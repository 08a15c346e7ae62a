"""A component with replicas: a change is tried on a few, and made on all or taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from controlled import ScriptedPolicy
from controller.canaries import Paired
from controller.checkpoint import checkpoint_record, kernel_of, memory
from controller.journal import Journal
from controller.loop import Controller
from controller.period import Effect, Inputs
from controller.plant_events import Event, EventKind
from controller.replay import replay
from controller.replicas import Members
from envs.plant import PlantError
from envs.spec import SystemSpec
from plants import ToyPlant
from telemetry.metrics import Snapshot

KNOB = "serving_batch_size"


class ReplicatedToy(ToyPlant):
    """A toy whose serving has two replicas, of which one gets changes first. Their readings scatter.

    Attributes:
        worth: what useful work of the canary is multiplied by while something is tried on it.
        load: what the useful work of both is multiplied by.
        bias: what the canary's is multiplied by whatever is tried.
    """

    members: Mapping[str, Members] = {}
    behind: Mapping[str, Mapping[str, float]] = {}

    def __init__(self, spec: SystemSpec) -> None:
        super().__init__(spec)
        self.tried: dict[str, dict[str, float]] = {}
        self.worth, self.load, self.bias = 1.0, 1.0, 1.0
        self.refuses, self.apart, self.silent = False, True, False
        self.events: list[Event] = []
        self.tries: list[dict[str, float]] = []
        self._random = np.random.default_rng(7)
        self._last: Snapshot | None = None

    def catch_up(self) -> None:
        """Nobody was away."""

    def take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def try_on(self, component: str, values: Mapping[str, float]) -> None:
        self.tries.append(dict(values))
        self.tried.pop(component, None)
        if self.refuses and values:
            raise PlantError("serving-0 does not take it")
        if values:
            self.tried[component] = dict(values)

    def advance(self, seconds: float) -> Snapshot:
        self._last = super().advance(seconds)
        return self._last

    @property
    def paired(self) -> dict[str, Paired]:
        if not self.apart or self._last is None:
            return {}
        worth = self.worth if self.tried else 1.0
        both = [self._shown(self.load * self.bias * worth), self._shown(self.load)]
        return {"serving": Paired(self.tried.get("serving", {}), *both)}

    def _shown(self, share: float) -> np.ndarray:
        assert self._last is not None
        values = self._last.values.copy()
        noise = np.nan if self.silent else 1.0 + 0.01 * self._random.standard_normal()
        values[self.spec.catalogue.index("serving_goodput_per_second")] *= share * noise
        return values


@pytest.fixture
def plant(spec: SystemSpec) -> ReplicatedToy:
    return ReplicatedToy(spec)


@pytest.fixture
def wanting(controller: Controller, policy: ScriptedPolicy) -> Controller:
    """In mode act, with history; its policy wants one change from now on."""
    policy.wanted = {KNOB: 16.0}
    return controller


def size(plant: ReplicatedToy) -> float:
    return float(plant.setting[plant.spec.knob_index(KNOB)])


def step_until(controller: Controller, condition: Callable[[], bool], most: int = 20) -> int:
    for number in range(most):
        if condition():
            return number
        controller.step()
    raise AssertionError(f"not within {most} periods")


def reasons(controller: Controller) -> str:
    assert controller.last_decision is not None
    return "; ".join(str(reason) for reason in controller.last_decision.reasons)


@pytest.mark.clause("D3")
@pytest.mark.parametrize("mode", ["act", "canary"])
def test_a_change_is_in_force_on_the_canaries_before_it_is_on_the_others(
    wanting: Controller, plant: ReplicatedToy, mode: str
) -> None:
    wanting.mode = mode
    wanting.step()
    assert size(plant) == 8.0
    value = plant.tried["serving"][KNOB]
    assert value > 8.0
    assert f"serving_batch_size = {value:g} on the canaries of serving" in reasons(wanting)
    step_until(wanting, lambda: size(plant) > 8.0)
    assert plant.tried == {}
    assert [trial.workload for trial in wanting.trials.running.values()] == ["serving"], "all are on trial then"


@pytest.mark.clause("D3")
@pytest.mark.clause("L12")
def test_a_change_that_is_worse_on_the_canaries_never_reaches_the_others(
    wanting: Controller, plant: ReplicatedToy, policy: ScriptedPolicy
) -> None:
    plant.worth = 0.6
    wanting.step()
    took = step_until(wanting, lambda: not plant.tried)
    assert took <= 5
    assert "worse: -" in reasons(wanting)
    for _ in range(5):
        wanting.step()
    assert all(setting[plant.spec.knob_index(KNOB)] == 8.0 for setting in plant.applied)
    assert len([values for values in plant.tries if values]) == 1, "it is left alone for a while"


@pytest.mark.clause("E1")
def test_what_happens_to_all_replicas_is_not_blamed_on_the_change(wanting: Controller, plant: ReplicatedToy) -> None:
    wanting.step()
    plant.load = 0.5
    step_until(wanting, lambda: size(plant) > 8.0)


@pytest.mark.clause("E1")
def test_a_canary_that_was_slower_before_is_not_blamed_for_it(
    make_controller: Callable[..., Controller], plant: ReplicatedToy, policy: ScriptedPolicy
) -> None:
    plant.bias = 0.7
    controller = make_controller()
    for _ in range(7):
        controller.step()
    policy.wanted = {KNOB: 16.0}
    step_until(controller, lambda: size(plant) > 8.0)


def test_nothing_is_tried_before_it_is_known_how_the_replicas_differ(
    make_controller: Callable[..., Controller], plant: ReplicatedToy, policy: ScriptedPolicy
) -> None:
    plant.silent = True
    controller = make_controller()
    policy.wanted = {KNOB: 16.0}
    for _ in range(9):
        controller.step()
    assert plant.tries == []
    assert "nothing yet to hold canaries and rest against" in reasons(controller)


@pytest.mark.clause("E5")
def test_canaries_that_cannot_be_read_are_no_success(wanting: Controller, plant: ReplicatedToy) -> None:
    wanting.step()
    plant.silent = True
    step_until(wanting, lambda: not plant.tried)
    assert size(plant) == 8.0
    assert "readings are missing" in reasons(wanting)


def test_canaries_that_do_not_take_a_change_begin_no_trial(wanting: Controller, plant: ReplicatedToy) -> None:
    plant.refuses = True
    for _ in range(6):
        wanting.step()
    assert wanting.kernel.canaries.running == {}
    assert size(plant) == 8.0
    assert len(plant.tries) <= 3, "what did not take force is left alone"


@pytest.mark.parametrize("what", ["pin", "shadow", "advise", "kill", "revert", "rollback", "gone", "elsewhere"])
def test_what_ends_a_canary_gives_it_what_the_rest_has(wanting: Controller, plant: ReplicatedToy, what: str) -> None:
    wanting.step()
    assert plant.tried
    if what == "pin":
        wanting.pins = {KNOB: 8.0}
    elif what in ("shadow", "advise"):
        wanting.mode = what
    elif what == "kill":
        wanting.killed = True
    elif what == "revert":
        wanting.revert()
    elif what == "rollback":
        wanting.rollback(wanting.kernel.canaries.running["serving"].move.id)
    elif what == "gone":
        plant.apart = False
    else:
        plant.events = [Event(EventKind.CHANGED_ELSEWHERE, "serving", "somebody", KNOB)]
    wanting.step()
    assert plant.tried == {}
    assert size(plant) == 8.0
    assert wanting.kernel.canaries.running == {}


def test_what_canaries_have_and_nobody_knows_of_is_taken_back(controller: Controller, plant: ReplicatedToy) -> None:
    plant.tried = {"serving": {KNOB: 32.0}}
    controller.step()
    assert plant.tried == {}


def test_added_capacity_does_not_wait_for_canaries(
    controller: Controller, plant: ReplicatedToy, allocator: ScriptedPolicy
) -> None:
    allocator.wanted = {"serving_cpu_cores": 0.7, "training_cpu_cores": 0.3}
    controller.step()
    controller.step()
    assert plant.tries == []
    assert plant.setting[plant.spec.knob_index("serving_cpu_cores")] > 0.5


def test_what_is_set_from_outside_is_not_for_canaries(
    controller: Controller, plant: ReplicatedToy, allocator: ScriptedPolicy
) -> None:
    allocator.wanted = {"serving_cpu_cores": 0.2}
    controller.step()
    assert plant.tries == []
    assert plant.setting[plant.spec.knob_index("serving_cpu_cores")] < 0.5


@pytest.mark.clause("A1")
def test_what_is_tried_stands_in_the_journal_before(
    wanting: Controller, plant: ReplicatedToy, journal: Journal
) -> None:
    step_until(wanting, lambda: size(plant) > 8.0)
    intents = [record for record in Journal.read(journal.path) if record["kind"] == "intent"]
    assert [record.get("canaries") for record in intents] == [{"serving": {KNOB: 16.0}}, None, {"serving": {}}]


@pytest.mark.clause("D7")
def test_canaries_replay_bit_for_bit(
    controller: Controller, plant: ReplicatedToy, policy: ScriptedPolicy, journal: Journal
) -> None:
    for number in range(120):
        policy.wanted = {KNOB: [16.0, 24.0, 8.0][number // 12 % 3]}
        plant.worth = [1.0, 0.6, 1.1][number // 18 % 3]
        plant.silent, plant.apart, plant.refuses = number % 31 == 0, number % 37 != 0, number % 41 > 36
        controller.mode = "canary" if number % 50 > 30 else "act"
        controller.step()
    assert len(plant.tries) > 6
    found = replay(Journal.records(journal.path))
    assert found.problem == ""
    assert found.periods == 127


@pytest.mark.clause("D7")
def test_a_running_canary_stands_in_checkpoints(wanting: Controller, plant: ReplicatedToy) -> None:
    wanting.step()
    wanting.step()
    assert wanting.kernel.canaries.running["serving"].since
    record = json.loads(json.dumps(checkpoint_record(wanting.kernel, "now")))
    assert memory(kernel_of(record)) == memory(wanting.kernel)
    del record["memory"]["canaries"]  # as former versions wrote it
    assert kernel_of(record).canaries.running == {}


def test_a_record_without_replicas_is_read_as_before() -> None:
    plain = {"now": 1.0, "time": 1.0, "values": [1.0], "before": [1.0], "mode": "act"}
    assert Inputs.of(plain).paired == {}
    assert Inputs.of(plain).plain() == plain
    effect = {"now": 1.0, "setting": [1.0], "journaled": True, "attempted": False, "refusals": []}
    assert Effect.of(effect).plain() == effect
