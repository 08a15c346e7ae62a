"""The command `trimtab forecast`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telemetry.cli import SeriesPatterns
from telemetry.options import Json, Seed, console, print_json, progress_bar

if TYPE_CHECKING:
    import numpy as np

    from telemetry.forecast import Forecaster

LIMIT_QUANTILE = 0.98


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
    page: Annotated[Path | None, typer.Option("--html", help="File for the report as a page.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Chances of issues up to 24 h ahead, and the levels to come; or judge the forecaster, or train it."""
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
        _foretell(path, tuple(series or ["*"]), _limits(limit or []), _forecaster(model), page, as_json)


def _foretell(
    path: Path,
    patterns: tuple[str, ...],
    limits: dict[str, float],
    forecaster: Forecaster,
    page: Path | None,
    as_json: bool,
) -> None:
    import numpy as np

    from telemetry.foresight import foresee
    from telemetry.watched import watched_series
    from training.forecast_page import WIDE, foresight_table, write_foresight_page

    known = [one for one in watched_series(path, patterns) if np.isfinite(one.levels).any()]
    unknown = set(limits) - {one.name for one in known}
    if unknown:
        raise typer.BadParameter(f"--limit for {', '.join(sorted(unknown))}: no such series here")
    if not known:
        raise typer.BadParameter(
            f"{path}: no series covers most of a whole hour of the clock; a forecast needs a day, and is best after "
            "two weeks: come back later"
        )
    found = [
        foresee(one.name, one.levels, limits.get(one.name, _usual_limit(one.levels)), one.end, forecaster)
        for one in known
    ]
    if page:
        write_foresight_page(page, found, [one.levels for one in known])
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


def _usual_limit(levels: np.ndarray) -> float:
    """What most of a series' own hours stay below, for one whose limit nobody gave."""
    import numpy as np

    return float(np.nanquantile(levels, LIMIT_QUANTILE))
