"""Runs the HTTP face on 127.0.0.1 or a unix socket, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from controller.access import Tokens
from controller.commands import TOKENS
from controller.face import application

HOST = "127.0.0.1"
MAX_CONNECTIONS = 32


class FaceError(RuntimeError):
    """A face that cannot be shown; one line."""


def serve(
    state_dir: str | Path, *, port: int | None = None, path: Path | None = None, token_file: Path | None = None
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        state_dir: of the controller.
        port: of 127.0.0.1; 0 takes any free one.
        path: of a unix socket instead, for the user of this process alone.
        token_file: None for `tokens.json` in the state directory; made with new tokens if missing.

    Raises:
        FaceError: the port or socket is taken, or there is no state directory.
        AccessError: the tokens cannot be used.
    """
    directory = Path(state_dir)
    if not directory.is_dir():
        raise FaceError(f"no state directory {str(directory)!r}; it is made when the controller is started")
    listener = listen(port, path)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        if path is not None:
            stack.callback(path.unlink, missing_ok=True)
        tokens = Tokens.made(token_file or directory / TOKENS)
        where = f"http://{HOST}:{listener.getsockname()[1]}" if path is None else f"unix socket {path}"
        print(f"{where}, tokens in {tokens.path}", flush=True)
        # uvicorn raises the signal again once it has shut down: the socket must be removed, and nothing be printed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(_config(application(directory, tokens))).run(sockets=[listener])


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
    )


def listen(port: int | None, path: Path | None) -> socket.socket:
    """The socket that is listened on.

    Args:
        port: of 127.0.0.1.
        path: of a unix socket; what a face that was killed has left there is replaced.

    Raises:
        FaceError: both or none are given, or it is taken.
    """
    if (port is None) == (path is None):
        raise FaceError("give either a port of 127.0.0.1 or the path of a unix socket")
    try:
        return socket.create_server((HOST, port)) if path is None else _unix(path)
    except (OSError, OverflowError) as error:
        where = f"{HOST}:{port}" if path is None else path
        raise FaceError(f"cannot serve on {where}: {getattr(error, 'strerror', None) or error}") from None


def _unix(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if stat.S_ISSOCK(path.lstat().st_mode) and probe.connect_ex(str(path)) != 0:
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    former = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(MAX_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(former)
    return listener
