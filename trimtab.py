"""The command line: one command a function, each importing what it needs when it is called."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

OURS = {"telemetry", "envs", "agents", "controller", "training", "testbed"}

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__, add_completion=False)
testbed_app = typer.Typer(no_args_is_help=True, help="The small but real learning system that comes with Trimtab.")
trace_app = typer.Typer(no_args_is_help=True, help="Look at, convert and generate traces.")
control_app = typer.Typer(no_args_is_help=True, help="Run the controller, and talk to a running one.")
bench_app = typer.Typer(no_args_is_help=True, help="Speed figures as ratios measured in one run.")
app.add_typer(testbed_app, name="testbed")
app.add_typer(trace_app, name="trace")
app.add_typer(control_app, name="control")
app.add_typer(bench_app, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Spec = Annotated[str, typer.Option(help="A SystemSpec: TOML file, or the name of a shipped one.")]
Out = Annotated[Path | None, typer.Option(help="Folder for results; default: a new one below runs/.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Components = Annotated[Path, typer.Option(help="JSON file that says where the components are (testbed.json).")]
ParametersFile = Annotated[str | None, typer.Option("--parameters", help="Simulator parameters; default: the shipped.")]


def main() -> None:
    """Run the command line; what the user can put right ends in one line on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the only place that decides between a message and a traceback
        if type(error).__module__.partition(".")[0] not in OURS and not isinstance(error, OSError):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


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
            _out(out, "demo"),
            config,
            on_stage=lambda stage: bar(0, 0, stage),
            on_period=lambda progress: bar(progress.done, progress.total, demo_line(spec, progress)),
        )
    if as_json:
        print_json(result.summary)
        return
    console = _console()
    for table in demo_tables(result.summary):
        console.print(table)
    print_notes(console, result)


@testbed_app.command("up")
def start_testbed(
    state_dir: Annotated[Path | None, typer.Option(help="Folder to keep; default: a temporary one.")] = None,
    serving_port: Annotated[int | None, typer.Option(help="Default: any free port.")] = None,
    training_port: Annotated[int | None, typer.Option(help="Default: any free port.")] = None,
    ingest_port: Annotated[int | None, typer.Option(help="Default: any free port.")] = None,
    load_port: Annotated[int | None, typer.Option(help="Default: any free port.")] = None,
) -> None:
    """Start serving, training, ingest and load generator, and supervise them until Ctrl-C."""
    from testbed.launcher import up

    ports = {"serving": serving_port, "training": training_port, "ingest": ingest_port, "load": load_port}
    up(state_dir, {name: port for name, port in ports.items() if port is not None})


@app.command()
def monitor(
    components: Annotated[
        Path | None, typer.Option(help="testbed.json of a running system; default: host only.")
    ] = None,
    period: Annotated[float, typer.Option(help="Seconds between sweeps.", min=0.1)] = 1.0,
    serve: Annotated[int | None, typer.Option(help="Serve Prometheus text on this port of 127.0.0.1.")] = None,
    sweeps: Annotated[int | None, typer.Option(help="Stop after so many sweeps.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Live metrics of the host and, where given, of a learning system."""
    from controller.monitor import run_monitor

    run_monitor(components, period, serve_port=serve, sweeps=1 if as_json and sweeps is None else sweeps, json=as_json)


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


@trace_app.command("show")
def trace_show(path: Path, as_json: Json = False) -> None:
    """What a trace holds: length, metrics, mean and range of each."""
    from training.traces import describe, table_of

    description = describe(path)
    if as_json:
        print_json(description)
    else:
        _console().print(table_of(description))


@trace_app.command("convert")
def trace_convert(
    source: Path,
    target: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
    column: Annotated[str | None, typer.Option(help="Series to take; default: the format's own.")] = None,
    compression: Annotated[float, typer.Option(help="Time runs that many times faster.", min=1e-6)] = 1.0,
) -> None:
    """Convert any supported format to our Parquet or to CSV."""
    from training.traces import convert

    convert(source, target, column=column, compression=compression)
    print(target)


@trace_app.command("generate")
def trace_generate(
    target: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
    family: Annotated[str, typer.Option(help="Family of the generator.")] = "mixed",
    seed: Seed = 0,
    hours: Annotated[float, typer.Option(help="Length.", min=0.1)] = 24.0,
    step: Annotated[float, typer.Option(help="Seconds between two rates.", min=0.1)] = 60.0,
) -> None:
    """Generate a synthetic demand with a daily season, bursts and level shifts."""
    from training.traces import generate

    generate(target, family=family, seed=seed, duration_seconds=hours * 3600.0, step_seconds=step)
    print(target)


@app.command()
def validate(spec: Annotated[str, typer.Argument(help="A SystemSpec: TOML file or shipped name.")]) -> None:
    """Check a SystemSpec and say in one line what is wrong, or what it holds."""
    from envs.spec import Role, SystemSpec

    loaded = SystemSpec.load(spec)
    counts = {role: sum(knob.role is role for knob in loaded.knobs) for role in Role}
    print(
        f"{loaded.name}: {len(loaded.metrics)} metrics, {counts[Role.ALLOCATION]} allocation and "
        f"{counts[Role.TUNING]} tuning knobs, {len(loaded.slos)} SLOs, fingerprint {loaded.fingerprint}"
    )


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
        _console().print(calibration_table(result))


@app.command()
def docs(folder: Annotated[Path, typer.Argument(help="Where the pages lie.")] = Path("docs")) -> None:
    """Write the pages that are made from the code: the environments' data sheets."""
    from envs.datasheet import write

    write(folder / "environments.md")
    print(folder / "environments.md")


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
    log_directory = logs or _out(None, f"train-{task}")
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
    _console().print(evaluation_table(result))
    _console().print(summary_table(result))


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


@control_app.command("run")
def control_run(
    components: Components,
    spec: Spec = "reference",
    mode: Annotated[Literal["off", "shadow", "act"], typer.Option(help="How far to go.")] = "shadow",
    policy: Annotated[Path | None, typer.Option(help="Folder with allocation/ and tuning/; default: shipped.")] = None,
    state_dir: Annotated[Path, typer.Option(help="Folder of journal and status.")] = Path("runs/control"),
) -> None:
    """Run the controller on a learning system until Ctrl-C; the setting found at start is restored at the end."""
    from agents.artifact import shipped_directory
    from controller.runner import load_policies, run_controller
    from envs.spec import Role, SystemSpec

    logging.getLogger().setLevel(logging.INFO)
    loaded = SystemSpec.load(spec)
    policies = load_policies(policy or shipped_directory(Role.ALLOCATION).parent, loaded)
    run_controller(loaded, components, policies, state_dir, mode=mode)


StateDir = Annotated[Path, typer.Option(help="Folder of the running controller.")]


@control_app.command("status")
def control_status(state_dir: StateDir = Path("runs/control"), as_json: Json = False) -> None:
    """What a running controller is doing."""
    from controller.commands import status

    found = status(state_dir)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        print(f"{key:32} {value}")


@control_app.command("pause")
def control_pause(state_dir: StateDir = Path("runs/control")) -> None:
    """Change nothing until `resume`; harmful changes are still rolled back."""
    from controller.commands import pause

    pause(state_dir)


@control_app.command("resume")
def control_resume(state_dir: StateDir = Path("runs/control")) -> None:
    """End a pause."""
    from controller.commands import resume

    resume(state_dir)


@control_app.command("rollback")
def control_rollback(
    id: Annotated[str, typer.Argument(help="Optimization on trial; default: everything to last known good.")] = "",
    state_dir: StateDir = Path("runs/control"),
) -> None:
    """Take a change back."""
    from controller.commands import request_rollback

    request_rollback(state_dir, id)


@control_app.command("explain")
def control_explain(id: str, state_dir: StateDir = Path("runs/control")) -> None:
    """Why a change was made, and what came of it."""
    from controller.commands import explain

    print(explain(state_dir, id))


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


Bar = Callable[[int, int, str], None]


@contextlib.contextmanager
def progress_bar(title: str, quiet: bool) -> Iterator[Bar]:
    """A progress bar with time left on stderr; yields (done, total, message), total 0 meaning unknown."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24))
    console = Console(stderr=True)
    quiet = quiet or not console.is_terminal
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=quiet) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, message: str = title) -> None:
            bar.update(task, completed=done, total=total or None, description=message)

        yield update


def print_json(found: dict[str, Any]) -> None:
    """One JSON object on stdout; NaN, which JSON does not know, becomes null."""
    print(json.dumps(_finite(found), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0.0 else value


def _console() -> Any:
    from rich.console import Console

    return Console()


def _out(given: Path | None, name: str) -> Path:
    return given or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


if __name__ == "__main__":
    main()
