"""Commands that watch and control a live system."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from controller.policy_cli import policy_app
from telemetry.options import Components, Json, Spec, StateDir, print_json

app = typer.Typer()
control_app = typer.Typer(no_args_is_help=True, help="Run the controller, and talk to a running one.")
control_app.add_typer(policy_app, name="policy")
ModeName = Literal["off", "shadow", "advise", "canary", "act"]


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
    from controller.lean import become
    from controller.monitor import run_monitor
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
        become("controller.monitor", options.to_json())
    run_monitor(options)


@control_app.command("run")
def control_run(
    components: Components,
    spec: Spec = "reference",
    mode: Annotated[ModeName, typer.Option(help="How far to go.")] = "shadow",
    policy: Annotated[
        Path | None, typer.Option(help="Folder with allocation/ and tuning/; default: those in charge, else shipped.")
    ] = None,
    state_dir: Annotated[Path, typer.Option(help="Folder of journal and status.")] = Path("runs/control"),
    config: Annotated[Path | None, typer.Option(help="TOML file of limits and windows; read again on change.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Public key: from now on take only policies signed by it.")] = None,
    probation: Annotated[float, typer.Option(help="Seconds in shadow mode of policies new here.", min=0.0)] = 60.0,
    policy_process: Annotated[bool, typer.Option(help="Keep the policies in a process of their own.")] = True,
) -> None:
    """Run the controller on a learning system until Ctrl-C; the setting found at start is restored at the end."""
    from controller.lean import become

    options = {
        "components": components, "spec": spec, "mode": mode, "policy": policy, "state_dir": state_dir,
        "config": config, "trust": trust, "probation": probation, "policy_process": policy_process,
    }  # fmt: skip
    become("controller.service", json.dumps(options, default=str))


@control_app.command("status")
def control_status(state_dir: StateDir = Path("runs/control"), as_json: Json = False) -> None:
    """What a running controller is doing."""
    from controller.commands import status
    from controller.tables import status_lines

    found = status(state_dir)
    if as_json:
        print_json(found)
        return
    print("\n".join(status_lines(found)))


For = Annotated[str | None, typer.Option("--for", help="How long, such as 90s, 30m, 2h; default: until taken back.")]


@control_app.command("pause")
def control_pause(time: For = None, state_dir: StateDir = Path("runs/control")) -> None:
    """Change nothing until `resume`; harmful changes are still rolled back."""
    from controller.commands import pause, seconds_of

    pause(state_dir, None if time is None else seconds_of(time))


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


@control_app.command("revert")
def control_revert(
    state_dir: StateDir = Path("runs/control"),
    offline: Annotated[bool, typer.Option(help="Take back what a controller that is gone has left.")] = False,
) -> None:
    """Go back to the setting found at start; the policies begin again from there."""
    from controller.commands import request_revert
    from controller.guard import take_back_offline

    if offline:
        print(take_back_offline(state_dir))
    else:
        request_revert(state_dir)


@control_app.command("kill")
def control_kill(state_dir: StateDir = Path("runs/control")) -> None:
    """The kill switch: back to the setting found at start, and nothing else until `arm`. SIGUSR1 does the same."""
    from controller.commands import kill

    kill(state_dir)


@control_app.command("arm")
def control_arm(state_dir: StateDir = Path("runs/control")) -> None:
    """Turn the kill switch off."""
    from controller.commands import arm

    arm(state_dir)


@control_app.command("mode")
def control_mode(
    mode: ModeName,
    workload: Annotated[str | None, typer.Option(help="Whose mode at most; default: the whole system's.")] = None,
    state_dir: StateDir = Path("runs/control"),
) -> None:
    """Only read, decide without doing, ask first, go in small steps, or act; it stays so after a restart."""
    from controller.commands import set_mode

    set_mode(state_dir, mode, workload)


@control_app.command("approve")
def control_approve(id: str, state_dir: StateDir = Path("runs/control")) -> None:
    """In mode advise: make a change that waits; `control status` lists them."""
    from controller.commands import approve

    approve(state_dir, id)


@control_app.command("pin")
def control_pin(
    setting: Annotated[str, typer.Argument(help="KNOB=VALUE, such as serving_batch_size=8.")],
    time: For = None,
    state_dir: StateDir = Path("runs/control"),
) -> None:
    """Hold a knob at a value that no policy may change."""
    from controller.commands import pin, pin_of, seconds_of

    pin(state_dir, *pin_of(setting), None if time is None else seconds_of(time))


@control_app.command("unpin")
def control_unpin(knob: str, state_dir: StateDir = Path("runs/control")) -> None:
    """Let a knob go."""
    from controller.commands import unpin

    unpin(state_dir, knob)


@control_app.command("history")
def control_history(
    state_dir: StateDir = Path("runs/control"),
    count: Annotated[int, typer.Option(help="How many, the newest ones.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """The changes that were made, and what came of each; `explain ID` tells more."""
    from controller.commands import history
    from controller.tables import print_history

    found = history(state_dir, count)
    if as_json:
        print_json({"optimizations": found})
        return
    print_history(found)


@control_app.command("replay")
def control_replay(state_dir: StateDir = Path("runs/control"), as_json: Json = False) -> None:
    """Whether the journal is whole, and every decision in it follows from its inputs; exit status 1 if not."""
    from dataclasses import asdict

    from controller.replay import audit

    chain, replayed = audit(state_dir)
    if as_json:
        print_json({"chain": asdict(chain), "replay": asdict(replayed)})
    else:
        print(f"chain: {chain.problem or 'whole'}; {chain.lines} lines, newest hash {chain.newest}")
        print(f"replay: {replayed.problem or 'equal'}; {replayed.periods} periods in {replayed.segments} segments")
        for count, what in (
            (chain.unchained, "lines of an older version, without a chain"),
            (chain.torn, "lines that were cut off by a crash or a full disk"),
            (replayed.before, "periods before the oldest checkpoint, not replayed"),
            (replayed.unwritten, "periods that could not be written down, not replayed"),
        ):
            if count:
                print(f"besides: {count} {what}")
    if chain.problem or replayed.problem:
        raise typer.Exit(1)


@control_app.command("config")
def control_config() -> None:
    """A configuration file with every key at its default, and what it means."""
    from controller.config_template import template

    print(template(), end="")


@control_app.command("validate")
def control_validate(
    file: Annotated[Path | None, typer.Argument(help="A spec, or a configuration for --spec.")] = None,
    spec: Spec = "reference",
    policy: Annotated[Path | None, typer.Option(help="Folder with allocation/ and tuning/; default: shipped.")] = None,
) -> None:
    """Whether `control run` would take this configuration, spec and policies; says what is wrong in one line."""
    from agents.artifact import shipped_directory
    from controller.config_file import is_spec, load_config
    from controller.runner import load_policies
    from envs.spec import Role, SystemSpec

    if file is not None and is_spec(file):
        spec, file = str(file), None
    loaded = SystemSpec.load(spec)
    if file is not None:
        load_config(file, loaded)
        print(f"{file}: a valid configuration for {loaded.name}")
        return
    policies = load_policies(policy or shipped_directory(Role.ALLOCATION).parent, loaded)
    named = ", ".join(f"{role}: {found.name}" for role, found in policies.items())
    print(f"{loaded.name}: {len(loaded.knobs)} knobs, fingerprint {loaded.fingerprint}; {named}")


@app.command("doctor")
@control_app.command("doctor")
def doctor(state_dir: StateDir = Path("runs/control"), as_json: Json = False) -> None:
    """What of the controller works on this host, for this user; exit status 1 if it could not act at all."""
    from dataclasses import asdict

    from controller.doctor import examine

    findings = examine(state_dir)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{'works' if finding.works else 'off':6} {finding.name}: {finding.detail}")
    if any(finding.needed and not finding.works for finding in findings):
        raise typer.Exit(1)


@control_app.command("explain")
def control_explain(id: str, state_dir: StateDir = Path("runs/control")) -> None:
    """Why a change was made or advised: what was seen, wanted, expected, refused; what came of it; how to undo it."""
    from controller.commands import explain

    print(explain(state_dir, id))


@control_app.command("serve")
def control_serve(
    state_dir: StateDir = Path("runs/control"),
    port: Annotated[int | None, typer.Option(help="Of 127.0.0.1; 0 for any free one. Default: 9106.")] = None,
    socket: Annotated[Path | None, typer.Option(help="A unix socket instead, for this user alone.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Default: tokens.json in the state folder.")] = None,
) -> None:
    """The HTTP face of a controller, in a process of its own: health, metrics, decisions, and commands by token."""
    from controller.face_server import serve

    logging.getLogger("controller").setLevel(logging.INFO)
    serve(state_dir, port=9106 if port is None and socket is None else port, path=socket, token_file=token_file)


@app.command("report")
@control_app.command("report")
def report(
    state_dir: StateDir = Path("runs/control"),
    since: Annotated[str, typer.Option(help="Such as 2h, 7d, 2026-01-31 or 2026-01-31T12:00 (UTC).")] = "",
    as_json: Json = False,
) -> None:
    """What the controller did and what it was worth, from its journal."""
    from controller.report import lines
    from controller.report import report as report_of

    found = report_of(state_dir, since)
    if as_json:
        print_json(found.plain())
    else:
        print("\n".join(lines(found)))
