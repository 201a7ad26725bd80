"""The viewer as a program (scripts/view.py, configs/view.yaml)."""

from __future__ import annotations

import io
import logging
import secrets
import signal
import socket
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.apps.viewer.access import LOCAL, guarded
from mvdecor.apps.viewer.capture_panel import CapturePanel
from mvdecor.apps.viewer.capture_session import CaptureSession, is_capture_run
from mvdecor.apps.viewer.panel import Panel
from mvdecor.apps.viewer.photograph_panel import PhotographPanel
from mvdecor.apps.viewer.photograph_session import PhotographSession, is_photograph_run
from mvdecor.apps.viewer.session import Session
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.settings import PathName, Text
from mvdecor.systems.mvdecor.settings import MvDeCorSettings

if TYPE_CHECKING:
    import viser

ANY = ("0.0.0.0", "::")
"""Hosts that stand for all addresses of this machine."""


class ViewerSettings(MvDeCorSettings):
    """configs/view.yaml.

    Attributes:
        capture: reader of posed images, which are shown in place of shapes.
        run: folder of a finished run to show: of any system, or of scripts/fit.py.
        data_root: where its data is now.
        split: shapes to show.
        labels: names of the labels to paint with.
        host, port: where the viewer listens.
    """

    run: Annotated[str, Field(description="name the folder of a finished run")] | None  # type: ignore[assignment]
    capture: Annotated[dict[str, Any], Field(description="choose one of configs/capture")] | None
    data_root: PathName | None
    split: Literal["all", "train", "val", "test", "unlabelled"] | None
    labels: Annotated[list[Any], Field(description="give a list of names, for example labels=[foot,pole,shade]")] | None
    host: Text
    port: Annotated[int, Field(ge=0, le=65535, description="give a number from 0 (any that is free) to 65535")]


def run_view(cfg: DictConfig) -> None:
    """Show a data set, a run or a folder of meshes until interrupted (docs/viewer.md).

    Raises:
        InputError: a bad setting, no shapes, a port in use, or viser is not installed.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # kill ends it as Ctrl+C does
    try:
        _serve_until_interrupted(cfg)
    except KeyboardInterrupt:
        print("ended; every label is saved", flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def _serve_until_interrupted(cfg: DictConfig) -> None:
    with Viewer(cfg) as viewer:
        print(f"viewer: {viewer.address}  (Ctrl+C ends it)", flush=True)
        if cfg.host in LOCAL:
            print(f"from another machine: ssh -L {viewer.port}:localhost:{viewer.port} THIS_MACHINE", flush=True)
        while True:
            time.sleep(0.5)
            viewer.panel.tick()


class Viewer:
    """A running viewer, closed at the end of a `with`.

    Args:
        cfg: configs/view.yaml.

    Attributes:
        session: what it shows and does.
        panel: its page.
        port: where it listens.
        address: to open in a browser. On another host than this machine's own it holds a random token, and whoever does
            not know that is refused.

    Raises:
        InputError: as `run_view`.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check_out(Path(ViewerSettings.of(cfg, complete=True).out))
        _free(cfg.host, cfg.port)
        token = None if cfg.host in LOCAL else secrets.token_urlsafe(24)
        self.session: Session | CaptureSession | PhotographSession
        self.panel: Panel | CapturePanel | PhotographPanel
        if cfg.run is not None and is_photograph_run(Path(cfg.run)):
            self.session = PhotographSession(cfg)
            self._server = _serve(cfg.host, cfg.port, token)
            self.panel = PhotographPanel(self._server, self.session)
        elif cfg.capture is not None or (cfg.run is not None and is_capture_run(Path(cfg.run))):
            self.session = CaptureSession(cfg)
            self._server = _serve(cfg.host, cfg.port, token)
            self.panel = CapturePanel(self._server, self.session)
        else:
            self.session = Session(cfg)
            self._server = _serve(cfg.host, cfg.port, token)
            self.panel = Panel(self._server, self.session)
        self.port = self._server.get_port()
        name = socket.gethostname() if cfg.host in ANY else f"[{cfg.host}]" if ":" in cfg.host else cfg.host
        self.address = f"http://{name}:{self.port}" + ("" if token is None else f"/?token={token}")

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.panel.close()
        self._server.stop()


def _free(host: str, port: int) -> None:
    """Raise InputError if nothing can listen there: viser would silently take another port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"host={host} port={port}: cannot listen there ({error.strerror or error}): choose another port=, for example "
            f"port={port + 1 if port < 65535 else 8080}"
        ) from error


def _serve(host: str, port: int, token: str | None) -> viser.ViserServer:
    try:
        import viser
        import websockets.asyncio.server as sockets
    except ImportError as error:
        raise InputError("the viewer needs viser, which is not installed: pip install -e '.[view]'") from error
    logging.getLogger("websockets").setLevel(logging.WARNING)  # which would tell of every connection
    serve = sockets.serve
    sockets.serve = guarded(serve, token)  # type: ignore[misc,assignment]
    try:
        with redirect_stdout(io.StringIO()):  # it prints addresses of its own, without the token
            return viser.ViserServer(host, port, label="mvdecor", verbose=False)
    finally:
        sockets.serve = serve  # type: ignore[misc]
