"""Stand-ins for components of a learning system in the virtual machine, a process each: `components.py FOLDER NAME...`

Where each is stands in `FOLDER/NAME.json` then; every change of a knob is appended to `FOLDER/changes`.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

KNOBS: dict[str, dict[str, float]] = {
    "serving": {"serving_batch_size": 8, "serving_batch_timeout_seconds": 0.005, "serving_threads": 2},
    "training": {
        "training_batch_size": 32, "training_threads": 2, "training_loader_workers": 2,
        "training_checkpoint_interval_seconds": 10,
    },
    "ingest": {"ingest_chunk_events": 32, "ingest_cache_entries": 512},
    "load": {},
}  # fmt: skip


def serve(name: str, knobs: dict[str, float], changes: Path) -> None:
    """Show metrics and knobs over HTTP, and take changes, until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if self.command == "PATCH":
                asked = json.loads(self.rfile.read(size))
                knobs.update(asked)
                with changes.open("a") as file:
                    file.write(json.dumps(asked) + "\n")
                content = json.dumps({"applied": asked})
            elif self.path == "/metrics":
                content = "process_cpu_seconds_total 1.0\n"
            else:
                described = {knob: {"value": value, "low": 0, "high": 1e4} for knob, value in knobs.items()}
                content = json.dumps({"knobs": described})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content.encode())

        do_PATCH = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", PORTS[name]), Handler)
    server.serve_forever(poll_interval=10.0)


def tell_and_serve(name: str, directory: Path) -> None:
    """Write down where the component is, and be it."""
    entry = {"url": f"http://127.0.0.1:{PORTS[name]}", "pid": os.getpid()}
    (directory / f"{name}.tmp").write_text(json.dumps(entry))
    (directory / f"{name}.tmp").rename(directory / f"{name}.json")
    serve(name, KNOBS[name], directory / "changes")


PORTS = {name: 8101 + slot for slot, name in enumerate(KNOBS)}

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    *others, last = sys.argv[2:]
    for name in others:
        if not os.fork():
            tell_and_serve(name, directory)
    tell_and_serve(last, directory)
