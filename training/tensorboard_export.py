"""TensorBoard scalars from whatever was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from telemetry.query import Range


def write_scalars(found: Range, folder: Path) -> int:
    """Write every known value as a scalar at its wall clock; step is the second since the first row.

    Args:
        found: a range of a store or a trace.
        folder: of the run, made where missing.

    Returns:
        How many scalars were written.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    tags = [f"{name.partition('_')[0]}/{name}" for name in found.names]
    writer, count = EventFileWriter(str(folder)), 0
    steps = np.rint(found.times - found.times[:1]).astype(np.int64)
    for wall, step, row in zip(found.wall.tolist(), steps.tolist(), found.values.tolist(), strict=True):
        known = [Summary.Value(tag=tag, simple_value=v) for tag, v in zip(tags, row, strict=True) if v == v]
        writer.add_event(Event(wall_time=wall, step=step, summary=Summary(value=known)))
        count += len(known)
    writer.close()
    return count
