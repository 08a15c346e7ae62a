"""What `trimtab calibrate` does: reads recordings, fits, reports on runs that were not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from envs.simulator.parameters import Parameters
from envs.spec import SystemSpec
from telemetry.trace import Trace
from training.calibrate import STAGES, CalibrationError, fit, report

RECORDINGS = "recordings"
HELD_OUT = "held-out"


def run_calibrate(
    spec: SystemSpec,
    traces: Sequence[Path],
    held_out: Sequence[Path],
    *,
    out: Path | None,
    page: Path | None = None,
    fit_parameters: bool,
    on_progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """Fit the simulator, or report what it is worth.

    Args:
        spec: the system.
        traces: recordings to fit to; none takes the shipped ones.
        held_out: recordings to report on; none takes the shipped held-out ones.
        out: where to write the parameters; None writes nothing.
        page: folder for the report as a page with plots; None writes none.
        fit_parameters: False reports on the shipped parameters.
        on_progress: called with stages done, in all, and the stage's name.

    Returns:
        `metrics` {name: {`nmae`, `rank_correlation`, `noise_floor`}}, `held_out_runs`, `fitted_runs`, `parameters`.

    Raises:
        CalibrationError, TraceError: one line each.
    """
    both = {path.resolve() for path in traces} & {path.resolve() for path in held_out}
    if both:
        raise CalibrationError(f"{sorted(both)[0]} is to be fitted to and held out; a run can be only one of the two")
    fitted = list(traces) or shipped_recordings(held_out=False)
    unseen = list(held_out) or shipped_recordings(held_out=True)
    parameters, done = Parameters.load("reference"), 0

    def on_stage(name: str) -> None:
        nonlocal done
        on_progress(done, len(STAGES) + 1, f"fitting {name}")
        done += 1

    if fit_parameters:
        parameters = fit(spec, [Trace.load(path) for path in fitted], on_stage=on_stage)
        if out is not None:
            parameters.save(out)
    if page is not None:
        from training.calibration_page import write_page  # drawing costs a second

        write_page(spec, parameters, [Trace.load(path) for path in unseen], page)
    return {
        "metrics": report(spec, parameters, [Trace.load(path) for path in unseen]),
        "held_out_runs": [path.name for path in unseen],
        "fitted_runs": [path.name for path in fitted],
        "parameters": {name: value for name, value in vars(parameters).items() if isinstance(value, float)},
    }


def shipped_recordings(*, held_out: bool) -> list[Path]:
    """The testbed recordings that come with Trimtab.

    Raises:
        CalibrationError: there are none.
    """
    folder = Path(str(resources.files("training") / RECORDINGS))
    found = sorted(path for path in folder.glob("*.parquet") if path.name.startswith(HELD_OUT) == held_out)
    if not found:
        raise CalibrationError(f"no recordings in {folder}; record some with `trimtab record --excite`")
    return found
