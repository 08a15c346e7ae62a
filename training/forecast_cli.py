"""The command `trimtab forecast`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telemetry.cli import SeriesPatterns
from telemetry.options import Json, Seed, console, print_json, progress_bar

if TYPE_CHECKING:
    from controller.forecast_watch import WatchConfig
    from telemetry.forecast import Forecaster
    from telemetry.watched_limits import Limits


def forecast(
    path: Annotated[Path | None, typer.Argument(help="A store, a recording, or a trace.")] = None,
    series: SeriesPatterns = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE; default: what 98 % of the series' own hours stay below.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a forecaster; default: the shipped one, and for --backtest new ones.")
    ] = None,
    backtest: Annotated[bool, typer.Option("--backtest", help="Judge on traces, hosts held out.")] = False,
    train: Annotated[Path | None, typer.Option(help="Folder for a new forecaster, learnt also from --traces.")] = None,
    traces: Annotated[
        Path | None,
        typer.Option(help="Folder of traces for --backtest (default: simulated plants), and to learn from."),
    ] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Backtest on hosts and hours that are not in the test, for choosing.")
    ] = False,
    spec: Annotated[
        str | None,
        typer.Option(help="A SystemSpec, TOML file or shipped name: its SLOs are the limits of their metrics."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Forecast again and again, and keep the newest in this file, as STATE_DIR/forecast.json."),
    ] = None,
    every: Annotated[float | None, typer.Option(help="Seconds between two forecasts for --out; default: 3600.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="File for the report as a page.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Chances of issues up to 24 h ahead, once or as a service; or judge the forecaster, or train it."""
    if every is not None and out is None:
        raise typer.BadParameter("--every is for the service; give --out FILE as well")
    if train is not None:
        _train(train, traces, seed, as_json)
    elif backtest:
        _backtest(
            traces or path, _forecaster(model) if model else None, page, seed, development=development, as_json=as_json
        )
    elif path is None:
        raise typer.BadParameter(
            "give a store (`trimtab monitor --store DIR` fills one), a recording, or a trace; "
            "or --backtest, or --train DIR"
        )
    else:
        from controller.forecast_watch import WatchConfig
        from telemetry.watched_limits import Limits

        limits = Limits(_limits(limit or []), _slos(spec))
        if out is None:
            _foretell(path, tuple(series or ["*"]), limits, _forecaster(model), page, as_json)
        else:
            if page or as_json:
                raise typer.BadParameter("--out writes its own JSON; leave --html and --json out")
            _serve(path, tuple(series or ["*"]), limits, model, WatchConfig(out, 3600.0 if every is None else every))


def _foretell(
    path: Path,
    patterns: tuple[str, ...],
    limits: Limits,
    forecaster: Forecaster,
    page: Path | None,
    as_json: bool,
) -> None:
    import numpy as np

    from telemetry.foresight import foresee
    from telemetry.watched import watched_series
    from training.forecast_page import WIDE, foresight_table, write_foresight_page

    watched = watched_series(path, patterns, limits.mirrored)
    limits.check(one.name for one in watched)
    known = [one for one in watched if np.isfinite(one.levels).any()]
    if not known:
        raise typer.BadParameter(
            f"{path}: no series covers most of a whole hour of the clock; a forecast needs a day, and is best after "
            "two weeks: come back later"
        )
    found = []
    for one in known:
        foreseen = foresee(one.name, one.levels, limits.of(one), one.end, forecaster)
        found.append(foreseen.unmirrored() if one.mirrored else foreseen)
    if page:
        write_foresight_page(page, found, [-one.levels if one.mirrored else one.levels for one in known])
    if as_json:
        print_json({"path": str(path), "metrics": [one.to_json() for one in found]})
    else:
        screen = console()
        screen.print(foresight_table(found, narrow=screen.width < WIDE))


def _backtest(
    traces: Path | None,
    forecaster: Forecaster | None,
    page: Path | None,
    seed: int,
    *,
    development: bool,
    as_json: bool,
) -> None:
    from training.backtest import Split, backtest
    from training.forecast_page import bars_table, horizon_tables, plants_table, write_backtest_page
    from training.forecast_plant import judge_plants
    from training.forecast_training import ForecastConfig

    if development and traces is None:
        raise typer.BadParameter("--development needs --traces DIR; simulated plants have nothing to hold back")
    config = ForecastConfig(seed=seed)
    with progress_bar("reading traces", as_json) as bar:
        if traces is None:
            result = judge_plants(config, bar, forecaster)
        else:
            split: Split = "development" if development else "test"
            result = backtest(traces, config, bar, forecaster, split=split)
    if page:
        write_backtest_page(page, result)
    if as_json:
        print_json(result)
        return
    screen = console()
    plants = [plants_table(result)] if "plants" in result else []
    for table in (*horizon_tables(result), *plants, bars_table(result)):
        screen.print(table)


def _train(out: Path, traces: Path | None, seed: int, as_json: bool) -> None:
    from training.forecast_shipped import train_forecaster
    from training.forecast_training import ForecastConfig

    with progress_bar("training", as_json) as bar:
        card = train_forecaster(out, traces, ForecastConfig(seed=seed), bar)
    if as_json:
        print_json(card)
    else:
        print(out)


def _forecaster(model: Path | None) -> Forecaster:
    from telemetry.forecast import Forecaster
    from telemetry.forecast_artifact import CARD, SHIPPED, load

    if model is None and not (SHIPPED / CARD).exists():
        return Forecaster()  # the hour-of-day table needs no model
    return load(model or SHIPPED)


def _limits(given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise typer.BadParameter(f"--limit {text}; needed is NAME=VALUE, e.g. serving_latency_p99_seconds=0.15")
    return found


def _slos(spec: str | None) -> dict[str, tuple[float, bool]]:
    """Metric -> bound, and whether low readings break it."""
    if spec is None:
        return {}
    from envs.spec import SystemSpec

    found = {}
    for slo in SystemSpec.load(spec).slos:
        bound = slo.at_most if slo.at_most is not None else slo.at_least
        if bound is not None:
            found[slo.metric] = (bound, slo.at_least is not None)
    return found


def _serve(path: Path, patterns: tuple[str, ...], limits: Limits, model: Path | None, config: WatchConfig) -> None:
    from controller.forecast_watch import ForecastWatch
    from controller.monitor import stopped_by_signals
    from telemetry.forecast_versions import Versions
    from telemetry.watched import Watched, watched_series

    if not path.exists():
        raise typer.BadParameter(f"{path}: no such store; `trimtab monitor --store DIR` fills one")

    def source(*, sliding: bool) -> list[Watched]:
        watched = watched_series(path, patterns, limits.mirrored, sliding=sliding)
        limits.check(one.name for one in watched)
        return watched

    versions = Versions(model, config.out.with_suffix(".good"))
    with stopped_by_signals() as stop:
        ForecastWatch(config, source, limits.of, versions).run(stop)
