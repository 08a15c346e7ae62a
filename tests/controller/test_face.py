from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from asgi import Answer, Headers, ask
from controller.access import AccessRole, Tokens
from controller.commands import read_pins
from controller.face import COMMANDS, application
from controller.journal import Journal
from controller.lease import BEAT, write_in_place
from telemetry.processes import boot_seconds, process_start

LOCAL = (b"host", b"127.0.0.1:9106")
READ = ("/healthz", "/readyz", "/metrics", "/status", "/decisions", "/explain/a-1")
BODIES = {
    "/pause": {"seconds": 60}, "/pin": {"name": "serving_batch_size", "value": 4}, "/unpin": {"name": "x"},
    "/mode": {"mode": "act"}, "/rollback": {"id": "a-1"},
}  # fmt: skip


def state_of(folder: Path) -> Tokens:
    """A state directory with everything that a controller leaves there; this process plays it."""
    status = {
        "pid": os.getpid(), "process_start": process_start(os.getpid()), "completed_at": boot_seconds(),
        "period_seconds": 60.0, "mode": "shadow", "modes": {"serving": "shadow"}, "conditions": {},
        "setting": {"serving_batch_size": 8},
    }  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "metrics.prom").write_text("# TYPE trimtab_controller_killed gauge\ntrimtab_controller_killed 0.0\n")
    write_in_place(str(folder / BEAT), boot_seconds() + 600.0)
    journal = Journal(folder / "journal.jsonl")
    for number in range(30):
        change = {
            "id": f"a-{number}", "workload": "serving", "role": "tuning", "policy": "p", "knobs": {"threads": (1, 2)},
            "seen_at": 1.0, "applied_at": 2.0,
        }  # fmt: skip
        journal.append({"kind": "intent", "at": "t"})
        record = {"kind": "decision", "at": f"t{number}", "snapshot": {}, "opened": [change], "inputs": {"values": []}}
        journal.append(record)
    journal.close()
    return Tokens.made(folder / "tokens.json")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return state_of(tmp_path)


@pytest.fixture
def app(tmp_path: Path, tokens: Tokens) -> ASGIApp:
    return application(tmp_path, tokens)


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def as_role(tokens: Tokens, role: AccessRole) -> list[tuple[bytes, bytes]]:
    return [LOCAL, (b"authorization", b"Bearer " + tokens.read()[role])]


def post(app: ASGIApp, tokens: Tokens, path: str, fields: Any = None, role: AccessRole = AccessRole.ADMIN) -> Answer:
    body = b"" if fields is None else json.dumps(fields).encode()
    return ask(app, "POST", path, as_role(tokens, role), body)


NAMES = st.sampled_from(
    [b"authorization", b"host", b"origin", b"cookie", b"x-forwarded-for", b"x-http-method-override"]
)
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"Bearer ", b"Bearer null", b"127.0.0.1", b"localhost", b"http://127.0.0.1:9106", b"POST"]),
    st.binary(max_size=60).map(lambda token: b"Bearer " + token),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4).flatmap(lambda more: st.just([LOCAL, *more]) | st.just(more))
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "KILL"])
TARGETS = st.one_of(
    st.sampled_from([*COMMANDS, *READ]),
    st.sampled_from([*COMMANDS]).map(lambda path: f"{path}/"),
    st.sampled_from([*COMMANDS]).map(lambda path: f"/.{path}?token=x&_method=POST"),
    st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=30).map(lambda text: f"/{text}"),
)


@pytest.mark.clause("L11")
def test_no_request_without_a_token_changes_any_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("state")
    app = application(folder, state_of(folder))
    before = contents(folder)

    @settings(max_examples=120, deadline=None)
    @given(METHODS, TARGETS, HEADERS, st.sampled_from([b"", b"{}", b'{"mode": "act"}', b'{"id": ""}', b"\xff"]))
    def attack(method: str, target: str, headers: Headers, body: bytes) -> None:
        answer = ask(app, method, target, headers, body)
        assert contents(folder) == before
        assert answer.status in (200, 401, 403, 404, 405, 421)
        assert answer.status != 200 or (method in ("GET", "HEAD") and target.partition("?")[0] in READ[:3])

    attack()


@pytest.mark.clause("L11")
@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_nothing_but_post_changes_anything_even_with_a_token(
    app: ASGIApp, tokens: Tokens, tmp_path: Path, path: str, method: str
) -> None:
    before = contents(tmp_path)
    body = json.dumps(BODIES.get(path, {})).encode()
    assert ask(app, method, path, as_role(tokens, AccessRole.ADMIN), body).status == 405
    assert contents(tmp_path) == before


@pytest.mark.clause("L11")
@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if command.role is AccessRole.ADMIN])
def test_what_gives_power_needs_an_admin(app: ASGIApp, tokens: Tokens, tmp_path: Path, path: str) -> None:
    before = contents(tmp_path)
    answer = post(app, tokens, path, BODIES.get(path), AccessRole.OPERATOR)
    assert (answer.status, contents(tmp_path)) == (403, before)


@pytest.mark.parametrize(
    ("path", "fields", "file"),
    [
        ("/pause", {"seconds": 60}, "pause"),
        ("/pause", None, "pause"),
        ("/rollback", {"id": "a-1"}, "rollback"),
        ("/rollback", {}, "rollback"),
        ("/revert", None, "revert"),
        ("/kill", None, "kill"),
        ("/mode", {"mode": "act"}, "mode"),
        ("/mode", {"mode": "shadow", "workload": "serving"}, "mode.serving"),
        ("/pin", {"name": "serving_batch_size", "value": 4, "seconds": 60}, "pins.json"),
    ],
)
def test_a_command_leaves_what_the_controller_looks_for(
    app: ASGIApp, tokens: Tokens, tmp_path: Path, path: str, fields: dict[str, Any] | None, file: str
) -> None:
    assert post(app, tokens, path, fields).status == 202
    assert (tmp_path / file).exists()


def test_commands_that_come_at_once_are_all_given(app: ASGIApp, tokens: Tokens, tmp_path: Path) -> None:
    knobs = {f"knob_{number}": 1.0 for number in range(12)}
    status = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps({**status, "setting": knobs}))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda knob: post(app, tokens, "/pin", {"name": knob, "value": 2}), knobs))
    assert {answer.status for answer in answers} == {202}
    assert set(read_pins(tmp_path) or ()) == set(knobs)


def test_what_was_asked_for_can_be_taken_back(app: ASGIApp, tokens: Tokens, tmp_path: Path) -> None:
    for path in ("/pause", "/kill", "/resume", "/arm"):
        assert post(app, tokens, path).status == 202
    assert not (tmp_path / "pause").exists()
    assert not (tmp_path / "kill").exists()
    post(app, tokens, "/pin", BODIES["/pin"])
    assert post(app, tokens, "/unpin", {"name": "serving_batch_size"}).status == 202
    assert read_pins(tmp_path) == {}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/mode", b'{"mode": "autopilot"}', 422, "autopilot"),
        ("/mode", b"{}", 422, "mode must be text"),
        ("/mode", b'{"mod": "act"}', 422, "unknown field 'mod'; known are: mode, workload"),
        ("/mode", b'{"mode": "act", "workload": 3}', 422, "workload must be text"),
        ("/mode", b'{"mode": "act", "workload": "x"}', 409, "no workload 'x'; known are: serving"),
        ("/pause", b'{"seconds": -1}', 422, "more than 0"),
        ("/pause", b'{"seconds": NaN}', 422, "finite"),
        ("/pause", b'{"seconds": true}', 422, "must be a number"),
        ("/pause", b"[]", 422, "JSON object"),
        ("/pause", b"[" * 4000, 422, "JSON object"),
        ("/pause", b" " * 5000, 422, "larger than 4096"),
        ("/rollback", b'{"id": "\\ud800"}', 422, ""),
        ("/pin", b'{"name": "x", "value": 1}', 409, "no knob 'x'; known are: serving_batch_size"),
        ("/unpin", b'{"name": "x"}', 409, "not pinned"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_changes_nothing(
    app: ASGIApp, tokens: Tokens, tmp_path: Path, path: str, body: bytes, status: int, message: str
) -> None:
    before = contents(tmp_path)
    answer = ask(app, "POST", path, as_role(tokens, AccessRole.ADMIN), body)
    assert answer.status == status
    assert message in answer.json["error"]
    assert "\n" not in answer.json["error"]
    assert contents(tmp_path) == before


def test_health_readiness_and_metrics_need_no_token(app: ASGIApp, tmp_path: Path) -> None:
    assert ask(app, "GET", "/healthz", [LOCAL]).json == {"status": "ok"}
    assert ask(app, "GET", "/readyz", [LOCAL]).json["reasons"] == []
    (tmp_path / "status.json").unlink()
    answer = ask(app, "GET", "/readyz", [LOCAL])
    assert (answer.status, answer.json["ready"]) == (503, False)


def test_metrics_are_those_of_the_loop_and_of_the_files(app: ASGIApp, tmp_path: Path) -> None:
    ask(app, "POST", "/kill", [LOCAL])
    text = ask(app, "GET", "/metrics", [LOCAL]).body.decode()
    assert "trimtab_controller_killed 0.0\n" in text
    assert "trimtab_controller_ready 1.0\n" in text
    assert 'trimtab_face_refused_total{status="401"} 1.0\n' in text
    if shutil.which("promtool") is not None:
        done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=20)
        assert "trimtab_face" not in done.stderr.decode()


def test_of_a_controller_that_has_ended_no_old_figure_is_shown(app: ASGIApp, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"pid": 1, "process_start": 1}')
    text = ask(app, "GET", "/metrics", [LOCAL]).body.decode()
    assert "trimtab_controller_up 0.0\n" in text
    assert "trimtab_controller_killed" not in text


def test_decisions_are_the_newest_ones_and_go_on_from_there(app: ASGIApp, tokens: Tokens, tmp_path: Path) -> None:
    viewer = as_role(tokens, AccessRole.VIEWER)
    first = ask(app, "GET", "/decisions?limit=2", viewer).json
    assert [decision["at"] for decision in first["decisions"]] == ["t28", "t29"]
    assert "inputs" not in first["decisions"][0]
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"kind": "decision", "at": "t30"})
    journal.close()
    then = ask(app, "GET", f"/decisions?after={first['after']}", viewer).json
    assert [decision["at"] for decision in then["decisions"]] == ["t30"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/decisions?limit=0", 422),
        ("/decisions?limit=501", 422),
        ("/decisions?limit=-1", 422),
        ("/decisions?limit=many", 422),
        ("/decisions?after=nowhere", 410),
        ("/explain/a-99", 404),
        ("/no/such/thing", 404),
        ("/explain/a-1", 200),
        ("/status", 200),
    ],
)
def test_what_is_read_answers_with_its_status(app: ASGIApp, tokens: Tokens, target: str, status: int) -> None:
    assert ask(app, "GET", target, as_role(tokens, AccessRole.VIEWER)).status == status
