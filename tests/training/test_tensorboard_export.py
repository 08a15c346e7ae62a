from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from telemetry.trace import Trace
from trimtab import app


def test_every_known_value_becomes_a_scalar_at_its_wall_clock(tmp_path: Path) -> None:
    values = np.array([[1.0, 10.0], [np.nan, 20.0], [3.0, 30.0]])
    metadata = {"wall_start": 1.79e9}
    trace = Trace(np.arange(3) * 5.0 + 7.0, values, ("host_level", 'x_total{a="b"}'), np.empty((3, 0)), (), metadata)
    trace.save(tmp_path / "t.parquet")
    run = CliRunner().invoke(
        app, ["trace", "export", str(tmp_path / "t.parquet"), "--tensorboard", str(tmp_path / "tb")]
    )
    assert "(5 scalars" in run.stdout
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    level = events.Scalars("host/host_level")
    assert [(one.wall_time, one.step, one.value) for one in level] == [(1.79e9, 0, 1.0), (1.79e9 + 10.0, 10, 3.0)]
    assert [one.value for one in events.Scalars('x/x_total{a="b"}')] == [10.0, 20.0, 30.0]


def test_export_asks_where_to(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["trace", "export", str(tmp_path)])
    assert run.exit_code == 2
    assert "--tensorboard DIR" in run.output
