"""The examples of docs/monitoring.md, run as they stand but for the ports, which may be taken here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from controller.cli import monitor
from telemetry.collectors.scrape import parse_text

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
LOOP, SERVER, _ = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_training_loop() -> None:
    names: dict[str, Any] = {"loader": [([1, 2], [0, 1])] * 3, "step": lambda images, labels: 0.25}
    exec(LOOP.replace("9200", "0"), names)
    found = parse_text(names["run"].registry.text())
    assert (found["training_samples_total"], found["training_loss"]) == (6, 0.25)


def test_the_server() -> None:
    names: dict[str, Any] = {"predict": lambda request: request + 1}
    exec(SERVER.replace("9201", "0"), names)
    assert names["answer"](1) == 2
    found = parse_text(names["registry"].text())
    assert (found["serving_requests_total"], found["serving_latency_seconds_count"]) == (1, 1)


def test_all_options_of_the_page_exist() -> None:
    known = {f"--{name.removeprefix('as_').replace('_', '-')}" for name in inspect.signature(monitor).parameters}
    assert set(re.findall(r"--[a-z][a-z-]*", PAGE)) <= known
