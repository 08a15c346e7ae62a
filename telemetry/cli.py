"""Commands of traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from telemetry.options import Json, Seed, console, print_json

if TYPE_CHECKING:
    from telemetry.query import Query

SeriesPatterns = Annotated[
    list[str] | None, typer.Option(help="Pattern as in a shell, e.g. 'node_cpu_*'; may be given more than once.")
]
Begin = Annotated[str | None, typer.Option("--from", help="2026-11-24T12:30 (UTC), or -90min before the end.")]
End = Annotated[str | None, typer.Option("--to", help="Likewise; not included.")]
Step = Annotated[str | None, typer.Option(help="90, 5min, 1h; default: as recorded.")]
FieldOfPeriod = Annotated[
    Literal["auto", "mean", "min", "max", "last", "increase", "rate"],
    typer.Option(help="Of each step; auto: mean of gauges, last value of counters."),
]

trace_app = typer.Typer(no_args_is_help=True, help="Look at, query, convert, export and generate traces and stores.")


@trace_app.command("show")
def trace_show(path: Path, as_json: Json = False) -> None:
    """What a trace holds: length, metrics, mean and range of each; of a store, its tiers and series."""
    from telemetry.trace_files import describe, table_of

    description = describe(path)
    if as_json:
        print_json(description)
    else:
        console().print(table_of(description))


@trace_app.command("query")
def trace_query(
    path: Annotated[Path, typer.Argument(help="A store, or a trace.")],
    series: SeriesPatterns = None,
    begin: Begin = None,
    end: End = None,
    step: Step = None,
    field: FieldOfPeriod = "auto",
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: wall clock (UTC) and a column a series.")] = False,
) -> None:
    """Show any range of any series, at any step; the tier that is fine enough answers."""
    import sys

    from telemetry.trace_files import range_as_json, range_table, read_range, write_csv

    found = read_range(path, query_of(path, series, begin, end, step, field))
    if as_json:
        print_json(range_as_json(found))
    elif as_csv:
        write_csv(found, sys.stdout)
    else:
        console().print(range_table(found))


@trace_app.command("convert")
def trace_convert(
    source: Path,
    target: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
    column: Annotated[str | None, typer.Option(help="Series to take; default: the format's own.")] = None,
    compression: Annotated[float, typer.Option(help="Time runs that many times faster.", min=1e-6)] = 1.0,
) -> None:
    """Convert the demand in any supported format, or in a store, to our Parquet or to CSV."""
    from telemetry.trace_files import convert

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
    from telemetry.trace_files import generate

    generate(target, family=family, seed=seed, duration_seconds=hours * 3600.0, step_seconds=step)
    print(target)


def query_of(
    path: Path, series: list[str] | None, begin: str | None, end: str | None, step: str | None, field: FieldOfPeriod
) -> Query:
    """The query that the options of a command ask for.

    Raises:
        QueryError: a time or a duration that is none.
    """
    from telemetry.query import Query, parse_duration, parse_time
    from telemetry.trace_files import newest_time

    newest = newest_time(path) if any(text and text.startswith("-") for text in (begin, end)) else 0.0
    return Query(
        tuple(series or ["*"]),
        parse_time(begin, newest) if begin else None,
        parse_time(end, newest) if end else None,
        parse_duration(step) if step else None,
        field,
    )
