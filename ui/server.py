"""Serves the web app: where it listens, what it keeps meanwhile, how it ends."""

import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from provenance.errors import UsageError
from ui.app import CSS, create_app
from ui.settings import Settings

_MOST_UPLOADED = 64 * 2**20  # bytes a file
_FONTS = ("system-ui", "sans-serif")  # the default theme would fetch its fonts from the network
_HERE = ("localhost", "127.0.0.1", "::1")

_Message = MutableMapping[str, Any]


def serve(settings: Settings, host: str, port: int) -> None:
    """Loads model and library, serves the page until it is stopped."""
    from ui.wiring import make_checker, make_studio, open_library

    pictures = settings.home / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    _require_free(host, port)
    with (
        _kept_while_serving(settings.home / "serving" / str(port)),
        open_library(settings) as library,
    ):
        studio = make_studio(settings, make_checker(settings, library))
        launch(create_app(studio, library, pictures), pictures, host, port)


def launch(page: gr.Blocks, pictures: Path, host: str, port: int, *, wait: bool = True) -> str:
    """Starts the server and returns its address; returns when it stops, unless `wait` is False.

    Clear pictures are in the folder `pictures`. Raises UsageError where it cannot listen.
    """
    _reach_without_proxy(host)
    try:
        _, address, _ = page.queue(api_open=False).launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port or None,
            allowed_paths=[str(pictures)],
            max_file_size=_MOST_UPLOADED,
            footer_links=[],
            theme=gr.themes.Default(font=_FONTS, font_mono=("monospace",)),
            css=CSS,
            app_kwargs={"middleware": [(_NoRelay, (), {})]},
            prevent_thread_lock=not wait,
            quiet=not wait,
            show_error=True,
        )
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    return str(address)


class _NoRelay:
    """Refuses to fetch addresses of the network for a client, which Gradio would do."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(
        self, scope: _Message, receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        if scope["type"] == "http" and "/file=http" in scope["path"].lower():
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no addresses of the network"})
        else:
            await self._app(scope, receive, send)


@contextmanager
def _kept_while_serving(folder: Path) -> Iterator[None]:
    """Has Gradio keep uploads and previews in this folder; nothing of it is there afterwards, or
    is left from a run that was killed. Nobody else may read it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700, parents=True)
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["GRADIO_TEMP_DIR"]
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def _require_free(host: str, port: int) -> None:
    """Raises UsageError, before a model is loaded, where nothing can listen."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    why = error.strerror or error
    return UsageError(
        f"cannot listen on {host}, port {port}: {why}; --host and --port choose others"
    )


def _reach_without_proxy(host: str) -> None:
    """Gradio asks its own server whether it is there, which is nothing for a proxy to answer."""
    for name in ("no_proxy", "NO_PROXY"):
        known = [each for each in os.environ.get(name, "").split(",") if each]
        os.environ[name] = ",".join(dict.fromkeys([*known, *_HERE, host]))
