"""The report of a live comparison, from windows that were made by hand."""

import re
from dataclasses import replace

import pytest
from live_windows import SPEC, live_run, window

from training.pooling import comparisons, pool
from training.report import timeline, write_html, write_tensorboard


def decision(time: float, verdict: str = "keep"):
    return {"time": time, "workload": "serving", "changes": "a <b>", "verdict": verdict, "reason": "because"}


def marks(figure) -> list[float]:
    """Where changes are marked, in seconds of demand."""
    return [float(line.get_xdata()[0]) for axis in figure.axes for line in axis.lines if line.get_marker() == "|"]


def test_the_page_needs_nothing_from_elsewhere_and_names_every_arm(tmp_path):
    run = live_run(0)
    result = pool(SPEC, [run]) | {"notes": ["a note"]}
    write_html(tmp_path / "report.html", SPEC, comparisons(result), run.windows, [decision(1.0)])
    page = (tmp_path / "report.html").read_text()
    for name in ("static default", "best static", "best heuristic (aimd)", "a note", "a &lt;b&gt;"):
        assert name in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="?http', page)


def test_a_reference_that_did_nothing_makes_a_page_without_a_gain(tmp_path):
    nothing = dict.fromkeys((objective.done for objective in SPEC.workloads.values()), 0.0)
    idle = [window("static default", k, **nothing) for k in range(3)]
    run = live_run(0)
    run = replace(run, windows=idle + [w for w in run.windows if w.arm != "static default"])
    result = pool(SPEC, [run]) | {"notes": []}
    write_html(tmp_path / "report.html", SPEC, comparisons(result), run.windows, [])
    assert "efficiency<b>no comparison</b><span class=muted>no interval<" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("applied", "expected"), [(0.5, [0.5]), (5.9, [5.9]), (-0.5, []), (6.5, [])])
def test_a_change_is_marked_where_it_was_made(applied, expected):
    """Times are on the plant's clock; these windows last from 100 to 106 s."""
    windows = [replace(w, times=w.times + 100.0) for w in live_run(0).windows if w.segment == 0]
    assert marks(timeline(SPEC, windows, [decision(100.0 + applied)])) == pytest.approx(expected)


def test_only_tuning_knobs_that_an_arm_moved_are_drawn():
    windows = live_run(0).windows
    settings = windows[-1].settings.copy()
    settings[3:, SPEC.knob_index("serving_batch_size")] = 32.0
    drawn = timeline(SPEC, [*windows[:-1], replace(windows[-1], settings=settings)], [])
    assert len(timeline(SPEC, windows, []).axes) == 4
    assert [axis.get_ylabel() for axis in drawn.axes[4:]] == ["serving_batch_size"]


def test_runs_follow_each_other_in_the_plot():
    runs = [live_run(0), live_run(1)]
    figure = timeline(SPEC, [window for run in runs for window in run.windows], [])
    assert max(figure.axes[1].lines[0].get_xdata()) == 2 * 3 * 6 - 1


def test_tensorboard_has_a_folder_for_each_arm_with_a_plain_name(tmp_path):
    write_tensorboard(tmp_path, SPEC, live_run(0).windows)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"static-default", "best-static", "best-heuristic-aimd", "trimtab"}
