"""Commands that watch and control a live system."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from telemetry.options import Components, Json, Spec, print_json

app = typer.Typer()
control_app = typer.Typer(no_args_is_help=True, help="Run the controller, and talk to a running one.")


@app.command()
def monitor(
    components: Annotated[Path | None, typer.Option(help="Watch a running system, by its testbed.json.")] = None,
    pid: Annotated[list[int] | None, typer.Option(help="Watch a process and its descendants.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Watch processes whose command line matches.")] = None,
    cgroup: Annotated[list[str] | None, typer.Option(help="Watch a control group.")] = None,
    scrape: Annotated[list[str] | None, typer.Option(help="Scrape a program: NAME=http://host:port/metrics.")] = None,
    push: Annotated[int | None, typer.Option(help="Take metrics pushed to this port of 127.0.0.1.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Bearer token of scrapes and pushes.")] = None,
    period: Annotated[float, typer.Option(help="Seconds between sweeps.", min=0.1)] = 1.0,
    serve: Annotated[int | None, typer.Option(help="Serve Prometheus text on this port of 127.0.0.1.")] = None,
    store: Annotated[Path | None, typer.Option(help="Keep all sweeps in this folder.")] = None,
    otlp: Annotated[str | None, typer.Option(help="Send sweeps to this OpenTelemetry collector (OTLP/HTTP).")] = None,
    sweeps: Annotated[int | None, typer.Option(help="Stop after so many; default with --json: 1.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Live metrics of the host and of workloads: on the terminal, as JSON, for Prometheus, and kept on disk.

    --pid, --name, --cgroup and --scrape may be given several times.
    """
    from controller.monitor import become_service, run_monitor
    from controller.monitor_sources import MonitorOptions

    options = MonitorOptions(
        period=period,
        components=components,
        pids=tuple(pid or ()),
        names=tuple(name or ()),
        cgroups=tuple(cgroup or ()),
        scrapes=tuple(scrape or ()),
        token_file=token_file,
        serve=serve,
        push=push,
        store=store,
        otlp=otlp,
        sweeps=1 if as_json and sweeps is None else sweeps,
        json=as_json,
    )
    if not as_json and not sys.stdout.isatty() and (serve, push, store) != (None, None, None):
        become_service(options)
    run_monitor(options)


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
