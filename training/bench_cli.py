"""Commands that measure: `trimtab bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from telemetry.options import Json, Out, Seed, Spec, console, out_folder, print_json, progress_bar

bench_app = typer.Typer(no_args_is_help=True, help="Speed figures as ratios measured in one run.")


@bench_app.command("env")
def bench_env(as_json: Json = False) -> None:
    """System-steps per second of the vector environment, beside Gymnasium's CartPole-v1."""
    from training.bench import bench_environment

    print_json(bench_environment())


@bench_app.command("train")
def bench_train_command(as_json: Json = False) -> None:
    """Training steps per second and return for equal time, beside stable-baselines3's PPO with its defaults."""
    from training.bench import bench_train

    print_json(bench_train())


@bench_app.command("monitor")
def bench_monitor_command(
    seconds: Annotated[float, typer.Option(help="Measured.", min=5)] = 60.0,
    hz: Annotated[float, typer.Option(help="Sweeps of our monitor a second.", min=0.1, max=10)] = 1.0,
    testbed: Annotated[bool, typer.Option(help="Run the testbed meanwhile, and watch it.")] = True,
    soak: Annotated[float | None, typer.Option(help="Instead: watch for leaks for so many seconds.", min=20)] = None,
    as_json: Json = False,
) -> None:
    """Cost of `trimtab monitor` beside node_exporter's; or, with --soak, whether it lasts while processes churn."""
    from training.bench_monitor import bench_monitor, soak_monitor

    print_json(bench_monitor(seconds, hz, testbed=testbed) if soak is None else soak_monitor(soak, hz))


@bench_app.command("store")
def bench_store_command(as_json: Json = False) -> None:
    """Cost of keeping 1,000 series: CPU per sweep and bytes per value, beside pyarrow writing the same rows."""
    from training.bench_store import bench_store

    print_json(bench_store())


@bench_app.command("faults")
def bench_faults_command(
    episodes: Annotated[int, typer.Option(help="Simulated ones, in all.", min=0)] = 3300,
    seed: Seed = 0,
    hazards: Annotated[str | None, typer.Option(help="As in H1,H12; default: all of the contract's.")] = None,
    fault: Annotated[str | None, typer.Option(help="One fault, or two as in a+b, as a violation tells it.")] = None,
    pairs: Annotated[
        float, typer.Option(help="Share of episodes with a second fault, of another hazard.", min=0, max=1)
    ] = 1.0 / 3.0,
    self_test: Annotated[bool, typer.Option(help="Instead: controllers broken on purpose must be found.")] = False,
    live: Annotated[bool, typer.Option(help="Real faults on the testbed as well, one a minute.")] = False,
    minutes: Annotated[float, typer.Option(help="With --live: how long.", min=1)] = 30.0,
    out: Out = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file whose marked parts are written anew.")] = None,
    as_json: Json = False,
) -> None:
    """What the controller does when things go wrong: 22 hazards, invariants checked in each period.

    The exit status is 1 if one of them broke. Beside it stand the documented rules of comparable systems.
    """
    from training.faults.command import FaultsRequest, run_faults, summary_lines

    names = tuple(name.strip() for name in (hazards or "").split(",") if name.strip())
    folder = out_folder(out, "faults") if live else None
    request = FaultsRequest(episodes, seed, names, fault or "", self_test, folder, minutes, write, pairs)
    with progress_bar("faults", as_json) as bar:
        result = run_faults(request, bar)
    if as_json:
        print_json(result)
    else:
        print(*summary_lines(result), sep="\n")
    if not result["passed"]:
        raise typer.Exit(1)


@bench_app.command("forecast")
def bench_forecast_command(
    train: Annotated[bool, typer.Option(help="Train a forecaster as well: half a minute.")] = True,
    as_json: Json = False,
) -> None:
    """Time to foretell 1,000 metrics at all horizons, to look at one for the first time, and to train."""
    from telemetry.forecast_artifact import load
    from training.bench_forecast import bench_forecast

    print_json(bench_forecast(load(), train=train))


@bench_app.command("decide")
def bench_decide(as_json: Json = False) -> None:
    """Time of one decision, and of starting the controller's process."""
    from training.bench import bench_decision

    print_json(bench_decision())


@bench_app.command("own")
def bench_own_command(
    seconds: Annotated[float, typer.Option(help="Measured, after a warm-up.", min=5)] = 60.0,
    as_json: Json = False,
) -> None:
    """What the controller itself costs while it acts on the testbed: processor and memory, process by process."""
    from training.bench_own import bench_own, footprint_lines

    with progress_bar("own cost", as_json) as bar:
        result = bench_own(seconds, bar)
    if as_json:
        print_json(result)
    else:
        print(*footprint_lines(result), sep="\n")


@bench_app.command("verdicts")
def bench_verdicts_command(
    episodes: Annotated[int, typer.Option(help="Systems controlled by the shipped policies.", min=2)] = 48,
    changes: Annotated[int, typer.Option(help="Scripted changes in each scenario.", min=1)] = 300,
    demands: Annotated[Literal["train", "validation", "test"], typer.Option(help="Which days.")] = "test",
    seed: Seed = 0,
    spec: Spec = "reference",
    as_json: Json = False,
) -> None:
    """How well changes are judged in the simulator, which knows what they truly did; and what that is worth."""
    import logging

    from training.bench_verdicts import VerdictBudget, bench_verdicts, verdict_tables

    logging.getLogger("controller").setLevel(logging.ERROR)  # thousands of simulated troubles are no news
    budget = VerdictBudget(episodes, changes=changes, demands=demands, seed=seed)
    with progress_bar("judging", as_json) as bar:
        result = bench_verdicts(spec, budget, on_progress=bar)
    if as_json:
        print_json(result)
    else:
        for table in verdict_tables(result):
            console().print(table)


@bench_app.command("recover")
def bench_recover_command(
    episodes: Annotated[int, typer.Option(help="Systems under each policy.", min=2)] = 12,
    demands: Annotated[Literal["train", "validation", "test"], typer.Option(help="Which days.")] = "test",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """What it does and costs that only as much is taken as can be made good: with policies that mean harm, too."""
    import logging

    from training.bench_recover import RecoverBudget, bench_recover, recover_table

    logging.getLogger("controller").setLevel(logging.ERROR)  # thousands of simulated troubles are no news
    with progress_bar("living", as_json) as bar:
        result = bench_recover(budget=RecoverBudget(episodes, demands=demands, seed=seed), on_progress=bar)
    print_json(result) if as_json else console().print(recover_table(result))


@bench_app.command("guard")
def bench_guard_command(
    policy: Annotated[Path | None, typer.Option(help="Folder with allocation/ and tuning/; default: shipped.")] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of public traces; those declared as test count.")] = None,
    as_json: Json = False,
) -> None:
    """False alarms of the guards of observations and readings, and what they find of what is perturbed."""
    from training.bench_guard import bench_guard

    print_json(bench_guard(policy, traces))


@bench_app.command("prescale")
def bench_prescale_command(
    episodes: Annotated[int, typer.Option(help="On each simulated day.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """What acting on forecasts brings: the same simulated days under the controller with it and without."""
    from training.bench_prescale import bench_prescale

    print_json(bench_prescale(episodes=episodes))
