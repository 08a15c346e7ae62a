"""What all commands share: options, the progress bar, JSON on stdout."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Spec = Annotated[str, typer.Option(help="A SystemSpec: TOML file, or the name of a shipped one.")]
Out = Annotated[Path | None, typer.Option(help="Folder for results; default: a new one below runs/.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Components = Annotated[Path, typer.Option(help="JSON file that says where the components are (testbed.json).")]
StateDir = Annotated[Path, typer.Option(help="Folder of the running controller.")]
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
    print(json.dumps(finite(found), indent=2))


def finite(value: Any) -> Any:
    """The same with None, which JSON knows, for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0.0 else value


def console() -> Any:
    """A rich console on stdout."""
    from rich.console import Console

    return Console()


def out_folder(given: Path | None, name: str) -> Path:
    """The folder given, or a new one below `runs/`."""
    return given or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
