from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from controller.access import AccessError, AccessRole, Tokens, denial

NEEDED = {"/pause": AccessRole.OPERATOR, "/mode": AccessRole.ADMIN}
LOCAL = (b"host", b"127.0.0.1:9106")


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens.made(tmp_path / "tokens.json")


def bearer(tokens: Tokens, role: AccessRole) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + tokens.read()[role]


def status(tokens: Tokens, method: str, path: str, *headers: tuple[bytes, bytes]) -> int:
    found = denial(method, path, headers, NEEDED, tokens)
    return 200 if found is None else found.status


@pytest.mark.clause("L11")
def test_tokens_are_made_for_their_owner_alone_and_kept(tmp_path: Path) -> None:
    made = Tokens.made(tmp_path / "tokens.json").read()
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert len(set(made.values())) == 3
    assert all(len(token) >= 40 for token in made.values())
    assert Tokens.made(tmp_path / "tokens.json").read() == made


@pytest.mark.clause("L11")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_tokens_that_others_can_read_are_refused(tokens: Tokens, mode: int) -> None:
    tokens.path.chmod(mode)
    with pytest.raises(AccessError, match="chmod 600"):
        tokens.read()
    assert status(tokens, "GET", "/decisions", LOCAL, (b"authorization", b"Bearer x")) == 503


def test_a_link_to_tokens_elsewhere_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tokens.path)
    with pytest.raises(AccessError, match="cannot read"):
        Tokens(tmp_path / "link").read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a JSON object of viewer, operator, admin"),
        ('{"root": "0123456789abcdef"}', "must be a JSON object"),
        ('{"viewer": ""}', "shorter than 16"),
        ('{"viewer": "0123456789abcdef", "admin": "0123456789abcdef"}', "the same token"),
    ],
)
def test_tokens_that_are_no_good_are_refused(tokens: Tokens, content: str, message: str) -> None:
    tokens.path.write_text(content)
    with pytest.raises(AccessError, match=message):
        tokens.read()


@pytest.mark.clause("L11")
@pytest.mark.parametrize(
    ("role", "allowed"),
    [(AccessRole.VIEWER, (200, 403, 403)), (AccessRole.OPERATOR, (200, 200, 403)), (AccessRole.ADMIN, (200, 200, 200))],
)
def test_each_role_may_do_what_those_below_it_may(
    tokens: Tokens, role: AccessRole, allowed: tuple[int, int, int]
) -> None:
    sent = (LOCAL, bearer(tokens, role))
    asked = (("GET", "/decisions"), ("POST", "/pause"), ("POST", "/mode"))
    assert tuple(status(tokens, method, path, *sent) for method, path in asked) == allowed


@pytest.mark.clause("L11")
def test_a_token_that_was_replaced_is_worth_nothing_at_once(tokens: Tokens) -> None:
    former = bearer(tokens, AccessRole.ADMIN)
    tokens.path.write_text(json.dumps({"admin": "another-one-of-20-letters"}))
    assert status(tokens, "POST", "/mode", LOCAL, former) == 401
    assert status(tokens, "POST", "/mode", LOCAL, bearer(tokens, AccessRole.ADMIN)) == 200


@pytest.mark.clause("L11")
@pytest.mark.parametrize("sent", [b"", b"Bearer", b"Bearer ", b"Basic abc", b"Bearer \xff\xfe", b"bearer x" * 1000])
def test_what_is_no_token_is_told_from_one(tokens: Tokens, sent: bytes) -> None:
    assert status(tokens, "POST", "/pause", LOCAL, (b"authorization", sent)) == 401


@pytest.mark.clause("L11")
def test_two_tokens_are_none(tokens: Tokens) -> None:
    own = bearer(tokens, AccessRole.ADMIN)
    assert status(tokens, "POST", "/pause", LOCAL, own, own) == 401


@pytest.mark.clause("L11")
@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:9106", b"127.0.0.1", b"127.0.0.1:80"])
def test_this_host_has_these_names(tokens: Tokens, host: bytes) -> None:
    assert status(tokens, "GET", "/metrics", (b"host", host)) == 200


@pytest.mark.clause("L11")
@pytest.mark.parametrize(
    "host", [b"", b"evil.example", b"evil.example:9106", b"localhost.evil.example", b"127.0.0.1:80:evil", b"0.0.0.0"]
)
def test_a_name_that_points_here_is_refused_whatever_is_asked(tokens: Tokens, host: bytes) -> None:
    assert status(tokens, "GET", "/metrics", (b"host", host)) == 421
    assert status(tokens, "POST", "/mode", (b"host", host), bearer(tokens, AccessRole.ADMIN)) == 421


@pytest.mark.clause("L11")
@pytest.mark.parametrize("hosts", [(), (LOCAL, LOCAL)])
def test_a_request_has_one_host(tokens: Tokens, hosts: tuple[tuple[bytes, bytes], ...]) -> None:
    assert status(tokens, "GET", "/metrics", *hosts) == 421


@pytest.mark.clause("L11")
@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ((b"origin", b"http://127.0.0.1:9106"), 200),
        ((b"origin", b"http://127.0.0.1:3000"), 403),
        ((b"origin", b"https://evil.example"), 403),
        ((b"origin", b"null"), 403),
        ((b"sec-fetch-site", b"same-origin"), 200),
        ((b"sec-fetch-site", b"cross-site"), 403),
        ((b"sec-fetch-site", b"same-site"), 403),
    ],
)
def test_a_page_from_elsewhere_is_refused_even_with_a_token(
    tokens: Tokens, header: tuple[bytes, bytes], allowed: int
) -> None:
    assert status(tokens, "POST", "/mode", LOCAL, header, bearer(tokens, AccessRole.ADMIN)) == allowed
