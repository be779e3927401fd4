"""The browser side of the view: a viser server with a scene and a panel."""

from __future__ import annotations

import contextlib
import importlib
import io
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from envs import ArmEnv
from planners import AvoidSphere

from ..config import PlannerConfig, ViewConfig
from ..errors import RequestError
from .controls import Controls
from .frame import Frame
from .panel import Panel
from .readings import Readings
from .scene import Scene

TITLE = "loopwm"
LEGEND = (
    "Orange: the plan, as the model foresees it; pale blue: the arm at its end. "
    "Violet to yellow: candidates, from the worst score to the best, elites thick. Blue: the way so far."
)
WIDTH = 300
"""Of the panels [pixels]."""
MOST = 400
"""Candidates that can be drawn."""


class Viewer:
    """A `frame.Display` in the browser.

    Args:
        env: whose arm is shown.
        planner: the planner's settings.
        view: where to listen, and how much to draw.
        controls: is told what people ask for.
        depth: whether the model's loops can be chosen.
        obstacles: spheres that the planner avoids.

    Raises:
        RequestError: viser is not installed, or the address cannot be listened on.
    """

    def __init__(
        self,
        env: ArmEnv,
        planner: PlannerConfig,
        view: ViewConfig,
        controls: Controls,
        depth: bool,
        obstacles: Sequence[AvoidSphere] = (),
    ) -> None:
        self.server = open_server(view.host, view.port)
        self._lock = threading.Lock()
        self._frame: Frame | None = None
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False)
        self.scene = Scene(self.server.scene, env, controls.move_goal, obstacles, view.candidates)
        self.panel = Panel(gui, controls, planner, depth)
        with gui.add_folder("Show", expand_by_default=False):
            count = gui.add_slider("candidates", 0, MOST, 10, min(view.candidates, MOST))
            ghost = gui.add_checkbox("foreseen end of the plan", True)
        left = gui.add_panel()
        with left.add_tab("Plan"):
            self.readings = Readings(gui, env.ctrl_dt)
            gui.add_markdown(LEGEND)
        left.dock_left()
        left.set_width(WIDTH)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(WIDTH)
        count.on_update(lambda _: self._look(count=int(count.value)))
        ghost.on_update(lambda _: self._look(ghost=bool(ghost.value)))
        camera = self.server.initial_camera
        camera.position, camera.look_at, camera.fov = self.scene.camera()

    @property
    def url(self) -> str:
        """Where to look."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server.get_host(), self.server.get_host())
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.get_port()}"

    def show(self, frame: Frame) -> None:
        """Draw an instant."""
        with self._lock, self.server.atomic():
            self._frame = frame
            self.scene.show(frame)
            self.readings.show(frame)

    def settle(self, values: Mapping[str, Any]) -> None:
        """Show the values that settings have."""
        self.panel.settle(values)

    def say(self, message: str) -> None:
        """Show a message."""
        self.panel.say(message)

    def close(self) -> None:
        """Stop listening."""
        with contextlib.redirect_stdout(io.StringIO()):  # viser tells of it
            self.server.stop()

    def _look(self, **what: Any) -> None:
        for name, value in what.items():
            setattr(self.scene, name, value)
        if self._frame is not None:
            self.show(self._frame)


def open_server(host: str, port: int) -> Any:
    """Start viser.

    Args:
        host: address to listen on.
        port: 0 takes any that is free.

    Raises:
        RequestError: it is not installed, or cannot listen there.
    """
    try:
        viser = importlib.import_module("viser")
    except ImportError as error:
        raise RequestError(f"loopwm view needs viser ({error}); pip install 'loopwm-robot[view]'") from error
    try:  # viser itself would go on to the next port, or wait for ever
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            f"view.host is '{host}' and view.port {port}, which cannot be listened on ({reason}); "
            "view.port=0 takes any port that is free"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # the command says where it listens
        return viser.ViserServer(host=host, port=port, label=TITLE, verbose=False)
