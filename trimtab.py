"""The command line. Each folder brings its commands; they import what they need when they are called."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from controller import cli as controller_commands
from controller.lean import run_as_program
from telemetry import cli as telemetry_commands
from training import bench_cli
from training import cli as training_commands

SUMMARY = "An autopilot for learning systems: watches, predicts, allocates and tunes, safely."
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=SUMMARY, add_completion=False)
testbed_app = typer.Typer(no_args_is_help=True, help="The small but real learning system that comes with Trimtab.")
app.add_typer(training_commands.app)
app.add_typer(testbed_app, name="testbed")
app.add_typer(controller_commands.app)
app.add_typer(telemetry_commands.trace_app, name="trace")
app.add_typer(controller_commands.control_app, name="control")
app.add_typer(bench_cli.bench_app, name="bench")


def main() -> None:
    """Run the command line; what the user can put right ends in one line on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    run_as_program(app)


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
def docs(folder: Annotated[Path, typer.Argument(help="Where the pages lie.")] = Path("docs")) -> None:
    """Write the pages that are made from the code: the environments' data sheets and the list of metrics."""
    from envs import datasheet
    from telemetry import metrics_page

    for name, write in (("environments.md", datasheet.write), ("metrics.md", metrics_page.write)):
        write(folder / name)
        print(folder / name)


if __name__ == "__main__":
    main()
