"""Pictures and texts of a system: readable, of one size, and the same for the same frames."""

import re
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from envs.panels import PERIODS, overview
from envs.rendering import Frames, picture, show, text
from envs.spec import Knob, SystemSpec
from envs.task import Task
from envs.terminal import COLUMNS, LINES, sparkline
from envs.units import number, quantity, unit_of, without_unit
from plants import HEALTHY

SPEC = SystemSpec.load("reference")
TASK = Task(SPEC, "allocation")
SPECS = sorted(path.name.removesuffix(".toml") for path in (resources.files("envs") / "specs").iterdir())


def frames(task: Task = TASK, periods: int = PERIODS, **readings: float) -> Frames:
    """A system that stands still, but for `readings` in its second half."""
    spec = task.spec
    values = np.tile([HEALTHY.get(name, 0.0) for name in spec.catalogue.names], (periods, 1))
    for name, value in readings.items():
        values[periods // 2 :, spec.catalogue.index(name)] = value
    return Frames(values, np.tile(spec.default_setting, (periods, 1)))


def reddish(drawn: np.ndarray) -> int:
    red, green, blue = (drawn[..., i].astype(int) for i in range(3))
    return int(((red - green > 15) & (abs(green - blue) < 12)).sum())


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("role", ["allocation", "tuning", "joint"])
def test_every_shipped_spec_has_a_picture_and_a_text(name, role):
    task = Task(SystemSpec.load(name), role)
    shown = frames(task)
    assert picture(task, shown).shape == (800, 1280, 3)
    lines = text(task, shown).split("\n")
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


@settings(max_examples=15, deadline=None)
@given(
    arrays(
        float,
        st.tuples(st.integers(1, 150), st.just(len(SPEC.metrics))),
        elements=st.floats(-1e12, 1e12) | st.just(np.nan),
        fill=st.just(0.0),
    )
)
def test_any_readings_can_be_drawn(values):
    shown = Frames(values, np.tile(SPEC.default_setting, (len(values), 1)))
    assert picture(TASK, shown).dtype == np.uint8
    lines = text(TASK, shown).split("\n")
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


def test_the_same_frames_give_the_same_picture_whatever_was_drawn_before():
    first = picture(TASK, frames())
    other = picture(TASK, frames(serving_latency_p99_seconds=3.0, serving_within_slo_ratio=0.2))
    assert (first != other).any()
    assert (picture(TASK, frames()) == first).all()
    assert (picture(Task(SPEC, "allocation"), frames()) == first).all()


def test_only_the_last_periods_are_drawn():
    many = frames(periods=3 * PERIODS, serving_queue_requests=20.0)
    last = Frames(*(part[-PERIODS:] for part in many))
    assert (picture(TASK, many) == picture(TASK, last)).all()
    assert text(TASK, many) == text(TASK, last)


def test_broken_slos_are_shaded_red():
    broken = frames(serving_within_slo_ratio=0.5, serving_latency_p99_seconds=2.0)
    assert reddish(picture(TASK, broken)) > reddish(picture(TASK, frames())) + 10_000


def test_a_text_marks_what_is_broken_and_what_the_task_sets():
    lines = text(TASK, frames(ingest_lag_seconds=9.0)).split("\n")
    assert any(line.startswith("!ingest freshness") and "9 s (≤ 3 s)" in line for line in lines)
    assert not any(line.startswith("!accuracy") for line in lines)
    marked = [line.split(">")[1].split("  ")[0] for line in lines if ">" in line]
    assert marked == ["serving cpu", "training cpu", "ingest cpu"]


def test_colours_change_nothing_but_colour():
    shown = frames(ingest_lag_seconds=9.0)
    coloured = text(TASK, shown, colour=True)
    plain = re.sub(r"\x1b\[\d+m", "", coloured)
    assert coloured != plain
    assert [line.rstrip() for line in plain.split("\n")] == text(TASK, shown).split("\n")


def test_a_missing_reading_is_a_dash_and_no_number():
    lines = text(TASK, frames(serving_queue_requests=np.nan)).split("\n")
    line = next(line for line in lines if "serving queue" in line)
    assert "·" in line
    assert "–" in line


def test_what_does_not_fit_is_counted():
    extra = [
        Knob(name=f"spare_{i}_entries", workload="ingest", role="tuning", low=0, high=9, default=3, unit="entries")
        for i in range(30)
    ]
    task = Task(SPEC.model_copy(update={"knobs": [*SPEC.knobs, *extra]}), "allocation")
    drawn = text(task, frames(task))
    assert len(drawn.split("\n")) <= LINES
    assert "more)" in drawn
    assert drawn.count(">") == 3


def test_showing_takes_the_place_of_the_text_before(capsys):
    show("one\ntwo")
    assert capsys.readouterr().out == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"


@pytest.mark.parametrize(
    "wrong",
    [
        Frames(np.zeros((0, len(SPEC.metrics))), np.zeros((0, len(SPEC.knobs)))),
        Frames(np.zeros((4, 3)), np.zeros((4, len(SPEC.knobs)))),
        Frames(np.zeros((4, len(SPEC.metrics))), np.zeros((5, len(SPEC.knobs)))),
    ],
)
def test_frames_that_are_not_the_specs_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{len(SPEC.metrics)} metrics and {len(SPEC.knobs)} knobs"):
        overview(TASK, wrong)


def test_a_shortfall_stands_against_what_was_wanted():
    lane = overview(TASK, frames(serving_goodput_per_second=40.0)).load.lanes[0]
    assert lane.reading == "40 of 100 /s"
    assert lane.height[-1] == pytest.approx(0.4 * lane.limit_height[-1])


def test_reward_and_efficiency_are_the_tasks_own():
    shown = frames()
    terms = TASK.score(shown.values[-1], shown.settings[-1], shown.settings[-2])
    lanes = {lane.label: lane.values[-1] for lane in overview(TASK, shown).reward.lanes}
    assert lanes["efficiency"] == pytest.approx(terms["efficiency"])
    assert lanes["reward"] == pytest.approx(sum(terms.values()))


@pytest.mark.parametrize(
    ("height", "expected"),
    [
        (np.zeros(PERIODS), "▁▁▁▁"),
        (np.linspace(0, 1, PERIODS), "▁▃▆█"),
        (np.ones(PERIODS // 2), "  ██"),
        (np.full(PERIODS, np.nan), "····"),
    ],
)
def test_a_sparkline_grows_to_the_right_and_leaves_out_nothing(height, expected):
    assert sparkline(height, 4) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.088, "seconds", "88 ms"),
        (2.5, "seconds", "2.5 s"),
        (1.2e9, "bytes", "1.2 GB"),
        (24.5e3, "bytes/s", "24.5 kB/s"),
        (132.4, "1/s", "132 /s"),
        (0.973, "ratio", "97.3 %"),
        (0.5, "cores", "0.50 cores"),
        (20_000, "events", "20k events"),
        (np.nan, "seconds", "–"),
    ],
)
def test_quantities_are_short_and_have_their_unit(value, unit, expected):
    assert quantity(value, unit) == expected


@given(st.floats(-1e11, 1e11) | st.just(np.nan))
def test_numbers_are_at_most_six_characters_and_have_no_exponent(value):
    assert len(number(value)) <= 6
    assert "e" not in number(value)


def test_a_name_tells_its_unit():
    assert unit_of("storage_written_bytes_per_second") == "bytes/s"
    assert without_unit("storage_written_bytes_per_second") == "storage written"
    assert (unit_of("training_backlog_samples"), unit_of("serving_batch_mean_size")) == ("samples", "1")
