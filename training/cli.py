"""Commands that make and judge policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from telemetry.cli import Begin, End, FieldOfPeriod, SeriesPatterns, Step, query_of, trace_app
from telemetry.options import Components, Json, Out, Seed, Spec, console, out_folder, print_json, progress_bar
from training.forecast_cli import forecast

if TYPE_CHECKING:
    from envs.simulator.parameters import Parameters
    from envs.spec import SystemSpec
    from training.demo import DemoConfig
    from training.policy_search import PolicySearchConfig
    from training.search import SearchConfig

app = typer.Typer()
app.command()(forecast)

ParametersFile = Annotated[str | None, typer.Option("--parameters", help="Simulator parameters; default: the shipped.")]


@app.command()
def demo(
    segments: Annotated[int, typer.Option(help="Pieces of the trace; each is replayed to all.", min=1)] = 5,
    seconds: Annotated[int, typer.Option(help="Counted seconds of a window.", min=5)] = 18,
    trace: Annotated[Path | None, typer.Option(help="Request trace to replay; default: a generated day.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The main job: shipped policies online on a real learning system, against static settings and the best rule."""
    from training.demo import DemoConfig

    config = DemoConfig(segments=segments, periods=seconds)
    _compare_live("reference", None, out_folder(out, "demo"), config, runs=1, trace=trace, as_json=as_json)


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
    out: Annotated[
        Path, typer.Option(help="Folder: the best policy goes to OUT/TASK, each seed's to OUT/seeds/SEED/TASK.")
    ] = Path("models"),
    config: Annotated[Path | None, typer.Option(help="TOML file; default: the shipped configuration.")] = None,
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    seeds: Annotated[str | None, typer.Option(help="As in 0,1,2; default: the configuration's.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Learner processes at a time; default: one a core.", min=1)] = None,
    logs: Annotated[Path | None, typer.Option(help="TensorBoard folder; default: a new one below runs/.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from what is in LOGS.")] = False,
    sweep: Annotated[int | None, typer.Option(help="Instead, try so many hyperparameters into LOGS.", min=1)] = None,
    space: Annotated[Path | None, typer.Option(help="TOML file they are drawn from; default: the shipped.")] = None,
    ray: Annotated[str | None, typer.Option(help="Sweep on Ray: local, auto, or an address.")] = None,
    guard_only: Annotated[bool, typer.Option(help="Train nothing; fit the guards of all policies in OUT.")] = False,
    as_json: Json = False,
) -> None:
    """Train a PPO policy in the simulator, once for each seed, and write artifacts and model cards."""
    from training.training_runs import TrainingRequest, refit_guards, sweep_hyperparameters, train_seeds

    if resume and logs is None:
        raise typer.BadParameter("give the folder of what to go on with: --logs DIR", param_hint="--resume")
    if guard_only and (sweep or resume):
        raise typer.BadParameter("trains nothing, so neither --sweep nor --resume fits", param_hint="--guard-only")
    if (space or ray) and not sweep:
        raise typer.BadParameter("only a sweep has these: give --sweep N", param_hint="--space, --ray")
    folder = logs or out_folder(None, f"{'sweep' if sweep else 'train'}-{task}")
    request = TrainingRequest(task, out, config, spec, parameters, seeds, jobs, folder, resume)
    with progress_bar(f"training {task}", as_json) as bar:
        if guard_only:
            outcome = refit_guards(request)
        else:
            outcome = sweep_hyperparameters(request, sweep, space, ray, bar) if sweep else train_seeds(request, bar)
    if as_json:
        print_json(outcome.summary)
    else:
        for part in outcome.shown:
            console().print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    outcome.check()


@app.command()
def evaluate(
    traces: Annotated[
        Path | None, typer.Option(help="Folder of traces; default: generated days never trained on.")
    ] = None,
    only_declared: Annotated[
        bool, typer.Option(help="Of the traces, those only that the protocol declares as test data.")
    ] = False,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with allocation/, tuning/ or joint/; once for each training seed. Default: shipped."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Episodes on each trace.", min=1)] = 20,
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    randomize: Annotated[bool, typer.Option(help="Vary the simulator's parameters from seed to seed.")] = True,
    html: Annotated[Path | None, typer.Option(help="File for the result as a page with plots.")] = None,
    save: Annotated[Path | None, typer.Option(help="File for the result in short, for `trimtab results`.")] = None,
    live: Annotated[bool, typer.Option(help="On the real testbed instead of the simulator.")] = False,
    runs: Annotated[int, typer.Option(help="With --live: the testbed is started anew for each.", min=1)] = 1,
    trace: Annotated[Path | None, typer.Option(help="With --live: request trace; default: generated days.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Judge policies against the references, on simulated traces or, with --live, on a real learning system."""
    if live:
        from training.demo import DemoConfig

        if policy and len(policy) > 1:
            raise typer.BadParameter("a live comparison takes one folder", param_hint="--policy")
        folder, target = policy[0] if policy else None, out_folder(out, "evaluate-live")
        _compare_live(spec, folder, target, DemoConfig(), runs=runs, trace=trace, as_json=as_json)
        return
    from training.evaluation_page import write_page
    from training.evaluation_tables import evaluation_table, notes, summary_table
    from training.judging import JudgingConfig, evaluate_policies
    from training.results_page import save_result

    config = JudgingConfig(traces, only_declared, tuple(policy or ()), seeds, parameters, randomize)
    with progress_bar("evaluating", as_json) as bar:
        result = evaluate_policies(spec, config, on_progress=bar)
    if html:
        write_page(html, result)
    if save:
        save_result(save, result)
    if as_json:
        print_json(result)
        return
    console().print(evaluation_table(result))
    console().print(summary_table(result))
    for line in notes(result):
        console().print(line, style="dim", highlight=False)


def _compare_live(
    spec: str, policy: Path | None, out: Path, config: DemoConfig, *, runs: int, trace: Path | None, as_json: bool
) -> None:
    from envs.spec import SystemSpec
    from training.console import demo_line, print_notes
    from training.live_judging import evaluate_live, live_tables

    loaded = SystemSpec.load(spec)
    with progress_bar("starting", as_json) as bar:
        result = evaluate_live(
            spec,
            policy,
            out,
            runs=runs,
            trace=trace,
            config=config,
            on_stage=lambda stage: bar(0, 0, stage),
            on_period=lambda progress: bar(progress.done, progress.total, demo_line(loaded, progress)),
        )
    if as_json:
        print_json(result)
        return
    screen = console()
    for table in live_tables(result):
        screen.print(table)
    print_notes(screen, result)


@app.command()
def results(
    readme: Annotated[Path, typer.Argument(help="File with the markers of the table.")] = Path("README.md"),
    saved: Annotated[Path, typer.Option(help="Folder of generated.json and real.json (`evaluate --save`).")] = Path(
        "docs/results"
    ),
) -> None:
    """Write the table of saved evaluations into the README, between its markers."""
    from training.results_page import fill_file

    fill_file(readme, saved)
    print(readme)


@app.command()
def search(
    spec: Spec = "reference",
    parameters: ParametersFile = None,
    out: Annotated[Path, typer.Option(help="Folder for what is found.")] = Path("training/configs"),
    generations: Annotated[int, typer.Option(help="Generations of 48 candidates.", min=1)] = 20,
    policies: Annotated[bool, typer.Option("--policies", help="Search the weights of linear policies.")] = False,
    pareto: Annotated[str | None, typer.Option(help="Search the Pareto front of: static, heuristic:NAME, ppo.")] = None,
    study: Annotated[Path | None, typer.Option(help="File of the Pareto search; if it exists, it goes on.")] = None,
    trials: Annotated[int, typer.Option(help="Of the Pareto search, in the end.", min=1)] = 960,
    steps: Annotated[int | None, typer.Option(help="System periods a strategy or training of PPO.", min=1)] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write the Pareto front as a page.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the Pareto front as a picture, .png or .svg.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Search the best static setting and heuristics' parameters, or policies' weights, or a Pareto front."""
    from envs.simulator.parameters import Parameters
    from envs.spec import SystemSpec
    from training.pareto import search_front
    from training.pareto_problems import Conditions
    from training.policy_search import PolicySearchConfig
    from training.search import SearchConfig

    if policies and pareto:
        raise typer.BadParameter("give either this or --policies", param_hint="--pareto")
    if pareto and study is None:
        raise typer.BadParameter("a Pareto search is kept in a file: give --study FILE.db", param_hint="--pareto")
    loaded, constants = SystemSpec.load(spec), Parameters.load(parameters) if parameters else None
    if policies:
        config = PolicySearchConfig(steps=steps or PolicySearchConfig.steps, seed=seed)
        _search_policies(loaded, constants, out, config, as_json)
    elif pareto and study:
        conditions = Conditions(loaded, parameters=constants, steps=steps or Conditions.steps)
        with progress_bar(f"searching {pareto}", as_json) as bar:
            front = search_front(pareto, conditions, study, trials=trials, seed=seed, on_progress=bar)
        _show_front(front, page, plot, as_json)
    else:
        _search_best(loaded, constants, out, SearchConfig(generations=generations, seed=seed), as_json)


def _search_best(
    spec: SystemSpec, parameters: Parameters | None, out: Path, config: SearchConfig, as_json: bool
) -> None:
    from envs.spec import Role
    from training.config import TrainingConfig
    from training.demands import load_demands
    from training.search import run_search

    demands = load_demands(TrainingConfig.load(None, Role.ALLOCATION).demands, spec.control_period_seconds)
    with progress_bar("searching", as_json) as bar:
        result = run_search(spec, demands, out, config=config, parameters=parameters, on_progress=bar)
    print_json(result["best_static"]["setting"] if not as_json else result)


def _search_policies(
    spec: SystemSpec, parameters: Parameters | None, out: Path, config: PolicySearchConfig, as_json: bool
) -> None:
    from training.policy_search import run_policy_search, score_lines

    with progress_bar("searching policies", as_json) as bar:
        result = run_policy_search(spec, out, config=config, parameters=parameters, on_progress=bar)
    if as_json:
        print_json(result)
    else:
        print(*score_lines(result), sep="\n")


def _show_front(front: dict[str, Any], page: Path | None, plot: Path | None, as_json: bool) -> None:
    from training.pareto_page import front_table, write_page, write_plot

    if page:
        write_page(page, front)
    if plot:
        write_plot(plot, front)
    if as_json:
        print_json(front)
    else:
        console().print(front_table(front))


@trace_app.command("export")
def trace_export(
    path: Annotated[Path, typer.Argument(help="A store, or a trace.")],
    target: Annotated[Path | None, typer.Argument(help="A .parquet file (a trace), or a .csv file.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard scalars.")] = None,
    series: SeriesPatterns = None,
    begin: Begin = None,
    end: End = None,
    step: Step = None,
    field: FieldOfPeriod = "auto",
) -> None:
    """Write any range of any series as a trace that replays, as CSV, or for TensorBoard."""
    from telemetry.trace_files import export, read_range
    from training.tensorboard_export import write_scalars

    if target is None and tensorboard is None:
        raise typer.BadParameter("give a file, or --tensorboard DIR, or both")
    found = read_range(path, query_of(path, series, begin, end, step, field))
    if target is not None:
        export(found, target)
        print(target)
    if tensorboard is not None:
        count = write_scalars(found, tensorboard)
        print(f"{tensorboard}  ({count} scalars; tensorboard --logdir {tensorboard})")
