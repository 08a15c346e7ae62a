"""`trimtab control policy`: which policies are in charge, and who answers for them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from telemetry.options import Json, Spec, StateDir, print_json

policy_app = typer.Typer(no_args_is_help=True, help="Policies of a controller: list, use, back, sign.")


@policy_app.command("list")
def policy_list(state_dir: StateDir = Path("runs/control"), as_json: Json = False) -> None:
    """The versions that are kept, the one in charge first."""
    from controller.policy_store import listed

    found = listed(state_dir)
    if as_json:
        print_json({"policies": [asdict(stored) for stored in found]})
        return
    for stored in found:
        place = "current" if stored.current else "previous" if stored.previous else ""
        told = ("proven" if stored.proven else "new here") + (", signed" if stored.signed else "")
        names = ", ".join(f"{role}: {name}" for role, name in stored.names.items())
        print(f"{stored.version}  {place:8}  {told:16}  {names}")


@policy_app.command("use")
def policy_use(
    source: Annotated[str, typer.Argument(help="Folder with allocation/ and tuning/, a version, or `shipped`.")],
    spec: Spec = "reference",
    state_dir: StateDir = Path("runs/control"),
) -> None:
    """Put policies in charge; a running controller follows, the version before is kept."""
    from controller.policy_store import is_proven, use
    from envs.spec import SystemSpec

    version = use(state_dir, source, SystemSpec.load(spec))
    print(f"{version}{'' if is_proven(state_dir, version) else ': new here, so in shadow mode first'}")


@policy_app.command("back")
def policy_back(state_dir: StateDir = Path("runs/control")) -> None:
    """Return to the version before."""
    from controller.policy_store import back

    print(back(state_dir))


@policy_app.command("keygen")
def policy_keygen(path: Annotated[Path, typer.Argument(help="Of the new signing key.")]) -> None:
    """Make a signing key, and PATH.pub for `control run --trust`."""
    from agents.manifest import make_key

    print(make_key(path))


@policy_app.command("sign")
def policy_sign(
    directory: Annotated[Path, typer.Argument(help="Folder with allocation/ and tuning/.")],
    key: Annotated[Path, typer.Option(help="Signing key, from `keygen`.")],
) -> None:
    """Write manifest.json, the hashes of all files, and its signature."""
    from agents.manifest import sign

    sign(directory, key)
