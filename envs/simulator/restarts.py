"""Components that crash or are killed: what is lost with them, and how long they are away."""

from __future__ import annotations

import numpy as np

from envs.simulator.columns import Columns


def down_seconds(state: Columns) -> np.ndarray:
    """How long each component stays away from now on, (3, N), a view."""
    return state.between("serving_down_seconds", "ingest_down_seconds")


def pass_time(state: Columns, seconds: float) -> None:
    """A period has passed; a trainer that was away in it has come no closer to its next checkpoint."""
    state.checkpoint_age *= state.training_down_seconds == 0.0
    down = down_seconds(state)
    np.maximum(down - seconds, 0.0, out=down)


def stop(state: Columns, out: Columns, stopped: np.ndarray, away: np.ndarray, seconds: float) -> None:
    """Stop components at the end of a period; nothing happens to those that are not stopped.

    Args:
        state: of the systems.
        out: their readings of the period, which tell of what is lost.
        stopped: (3, N) bool.
        away: (3, N) seconds until they are back.
        seconds: length of the period.
    """
    np.copyto(down_seconds(state), away, where=stopped)
    serving, training, ingest = stopped
    refused = state.serving_queue * serving  # whose connections break
    state.requests_rejected += refused
    state.serving_queue -= refused
    state.serving_entered *= ~serving
    out.serving_failed_per_second += refused / seconds
    out.serving_queue_requests[:] = state.serving_queue
    lost = state.ingest_backlog * ingest  # which waits in its memory
    state.events_dropped += lost
    state.ingest_backlog -= lost
    state.ingest_lag *= ~ingest
    out.ingest_backlog_events[:] = state.ingest_backlog
    # The trainer begins again from its last checkpoint, which is the model in service.
    np.copyto(state.trained_age, state.model_age, where=training)
    np.copyto(state.trained_fit, state.model_fit, where=training)
    state.unpublished_samples *= ~training
    state.checkpoint_age *= ~training
    state.unwritten_bytes *= ~training
    state.training_memory *= ~training
