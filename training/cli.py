"""Commands that make and judge policies."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from telemetry.options import Components, Json, Out, Seed, Spec, console, out_folder, print_json, progress_bar

app = typer.Typer()
bench_app = typer.Typer(no_args_is_help=True, help="Speed figures as ratios measured in one run.")

ParametersFile = Annotated[str | None, typer.Option("--parameters", help="Simulator parameters; default: the shipped.")]


@app.command()
def demo(
    segments: Annotated[int, typer.Option(help="Pieces of the trace; each is replayed to all.", min=1)] = 6,
    seconds: Annotated[int, typer.Option(help="Counted seconds of a window.", min=5)] = 18,
    trace: Annotated[Path | None, typer.Option(help="Request trace to replay; default: a generated day.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The main job: shipped policies online on a real learning system, against static settings."""
    from envs.spec import SystemSpec
    from training.console import demo_line, demo_tables, print_notes
    from training.demo import DemoConfig, run_demo

    config = DemoConfig(segments=segments, periods=seconds, trace=trace)
    spec = SystemSpec.load("reference")
    with progress_bar("starting", as_json) as bar:
        result = run_demo(
            spec,
            out_folder(out, "demo"),
            config,
            on_stage=lambda stage: bar(0, 0, stage),
            on_period=lambda progress: bar(progress.done, progress.total, demo_line(spec, progress)),
        )
    if as_json:
        print_json(result.summary)
        return
    screen = console()
    for table in demo_tables(result.summary):
        screen.print(table)
    print_notes(screen, result)


@app.command()
def record(
    components: Components,
    out: Annotated[Path, typer.Option(help="Folder of the trace.")],
    spec: Spec = "reference",
    seconds: Annotated[int, typer.Option(help="How long to watch.", min=1)] = 300,
    excite: Annotated[
        bool, typer.Option(help="Move knobs and load over their ranges meanwhile (testbed only).")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Record a live system to a trace, for `calibrate`."""
    from envs.spec import SystemSpec
    from training.excite import record_live

    with progress_bar("recording", False) as bar:
        record_live(SystemSpec.load(spec), components, out, seconds=seconds, excite=excite, seed=seed, on_period=bar)
    print(out)


@app.command()
def calibrate(
    traces: Annotated[
        list[Path] | None, typer.Argument(help="Recorded traces; default: the shipped recordings.")
    ] = None,
    held_out: Annotated[list[Path] | None, typer.Option(help="Traces to report on; never fitted to.")] = None,
    spec: Spec = "reference",
    out: Annotated[Path | None, typer.Option(help="File for the parameters; default: they are only reported.")] = None,
    report: Annotated[
        bool, typer.Option(help="Report the shipped parameters on the held-out runs; fit nothing.")
    ] = False,
    page: Annotated[Path | None, typer.Option(help="Folder for the report as a page with plots.")] = None,
    as_json: Json = False,
) -> None:
    """Fit the simulator to recorded traces and report its error on runs that it was not fitted to."""
    from envs.spec import SystemSpec
    from training.calibration import run_calibrate
    from training.console import calibration_table

    with progress_bar("fitting", as_json) as bar:
        result = run_calibrate(
            SystemSpec.load(spec),
            traces or [],
            held_out or [],
            out=out,
            page=page,
            fit_parameters=not report,
            on_progress=bar,
        )
    if as_json:
        print_json(result)
    else:
        console().print(calibration_table(result))


@app.command()
def train(
    task: Annotated[Literal["allocation", "tuning", "joint"], typer.Option(help="Which knobs the policy sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the artifacts; the policy goes to OUT/TASK.")] = Path("models"),
    config: Annotated[Path | None, typer.Option(help="TOML file; default: the shipped configuration.")] = None,
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    logs: Annotated[Path | None, typer.Option(help="TensorBoard folder; default: a new one below runs/.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoints in LOGS.")] = False,
) -> None:
    """Train a PPO policy in the simulator and write its artifact and model card."""
    from envs.simulator.parameters import Parameters
    from envs.spec import SystemSpec
    from training.config import TrainingConfig
    from training.train import run_train

    if resume and logs is None:
        raise typer.BadParameter("give the folder of the training to go on with: --logs DIR", param_hint="--resume")
    chosen = TrainingConfig.load(config, task)
    log_directory = logs or out_folder(None, f"train-{task}")
    loaded = Parameters.load(parameters) if parameters else None
    start = time.monotonic()
    with progress_bar(f"training {task}", False) as bar:
        report = run_train(
            task,
            out / task,
            SystemSpec.load(spec),
            config=chosen,
            parameters=loaded,
            log_directory=log_directory,
            resume=resume,
            on_progress=bar,
        )
    for name, score in report.scores.items():
        print(f"{name:32} {score:8.4f}")
    print(f"{report.directory}  ({time.monotonic() - start:.0f} s; tensorboard --logdir {log_directory})")


@app.command()
def evaluate(
    traces: Annotated[
        Path | None, typer.Option(help="Folder of traces; default: generated days never trained on.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Folder with allocation/ and tuning/; default: shipped.")] = None,
    seeds: Annotated[int, typer.Option(help="Episodes on each trace.", min=1)] = 20,
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    randomize: Annotated[bool, typer.Option(help="Vary the simulator's parameters from seed to seed.")] = True,
    as_json: Json = False,
) -> None:
    """Judge policies against the references on simulated traces."""
    from training.evaluate import evaluation_table, summary_table
    from training.judging import evaluate_policies

    with progress_bar("evaluating", as_json) as bar:
        result = evaluate_policies(
            spec, traces, policy, seeds=seeds, parameters=parameters, randomize=randomize, on_progress=bar
        )
    if as_json:
        print_json(result)
        return
    console().print(evaluation_table(result))
    console().print(summary_table(result))


@app.command()
def search(
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    out: Annotated[Path, typer.Option(help="Folder for best_static.json and heuristics.json.")] = Path(
        "training/configs"
    ),
    generations: Annotated[int, typer.Option(help="Generations of 48 candidates.", min=1)] = 20,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search the best static setting and the heuristics' best parameters on the training demands."""
    from envs.simulator.parameters import Parameters
    from envs.spec import Role, SystemSpec
    from training.config import TrainingConfig
    from training.demands import load_demands
    from training.search import SearchConfig, run_search

    loaded = SystemSpec.load(spec)
    demands = load_demands(TrainingConfig.load(None, Role.ALLOCATION).demands, loaded.control_period_seconds)
    with progress_bar("searching", as_json) as bar:
        result = run_search(
            loaded,
            demands,
            out,
            config=SearchConfig(generations=generations, seed=seed),
            parameters=Parameters.load(parameters) if parameters else None,
            on_progress=bar,
        )
    print_json(result["best_static"]["setting"] if not as_json else result)


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


@bench_app.command("decide")
def bench_decide(as_json: Json = False) -> None:
    """Time of one decision, and of starting the controller's process."""
    from training.bench import bench_decision

    print_json(bench_decision())
