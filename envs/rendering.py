"""A picture of what the policy sees. The only module of `envs` that draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from envs.task import Task


def picture(task: Task, observation: np.ndarray) -> np.ndarray:
    """Bars of the last readings, the setting and the SLO headroom, (600, 900, 3) uint8.

    Args:
        task: names the entries.
        observation: (n_observation,).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for axes, part in zip(figure.subplots(1, 3), ("now", "setting", "headroom"), strict=True):
        chosen = [i for i, label in enumerate(task.labels) if label.startswith(f"{part}/")]
        values = np.nan_to_num(observation[chosen], nan=-1.0)
        axes.barh(range(len(chosen)), values + 1.0, left=-1.0)
        axes.set_yticks(range(len(chosen)), [task.labels[i].split("/")[1] for i in chosen], fontsize=5)
        axes.set_xlim(-1.0, 1.0)
        axes.invert_yaxis()
        axes.set_title(part)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
