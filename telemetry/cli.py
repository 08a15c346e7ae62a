"""Commands of traces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from telemetry.options import Json, Seed, console, print_json

trace_app = typer.Typer(no_args_is_help=True, help="Look at, convert and generate traces.")


@trace_app.command("show")
def trace_show(path: Path, as_json: Json = False) -> None:
    """What a trace holds: length, metrics, mean and range of each."""
    from telemetry.trace_files import describe, table_of

    description = describe(path)
    if as_json:
        print_json(description)
    else:
        console().print(table_of(description))


@trace_app.command("convert")
def trace_convert(
    source: Path,
    target: Annotated[Path, typer.Argument(help="A .parquet or .csv file.")],
    column: Annotated[str | None, typer.Option(help="Series to take; default: the format's own.")] = None,
    compression: Annotated[float, typer.Option(help="Time runs that many times faster.", min=1e-6)] = 1.0,
) -> None:
    """Convert any supported format to our Parquet or to CSV."""
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
