"""What people can do in the view: buttons, and sliders for the settings of planner and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import PlannerConfig
from .controls import Controls
from .settings import DEPTH, LOOPS, OBJECTIVE, SEARCH, Choice, Slider, shown


class Panel:
    """Puts into the letter box what people ask for.

    Args:
        gui: `gui` of a viser server.
        controls: the letter box.
        config: the planner's settings.
        depth: whether the model's loops can be chosen.
    """

    def __init__(self, gui: Any, controls: Controls, config: PlannerConfig, depth: bool) -> None:
        self.gui, self.controls = gui, controls
        self._inputs: dict[str, Any] = {}
        self._message = gui.add_markdown("")
        with gui.add_folder("Run"):
            self._run()
        with gui.add_folder("Planner"):
            self._settings(config, SEARCH)
        if depth:
            with gui.add_folder("Depth of the model"):
                self._settings(config, DEPTH)
        with gui.add_folder("Objective", expand_by_default=False):
            self._settings(config, OBJECTIVE)

    def settle(self, values: Mapping[str, Any]) -> None:
        """Show the values that settings have."""
        self._message.content = ""
        for name, value in values.items():
            if (handle := self._inputs.get(name)) is not None:
                if isinstance(value, int | float):
                    handle.min, handle.max = min(handle.min, value), max(handle.max, value)
                handle.value = value

    def say(self, message: str) -> None:
        """Show a message until the next change."""
        self._message.content = f"**{message}**"
        self._name_pause()

    def _run(self) -> None:
        gui, controls = self.gui, self.controls
        self._pause = gui.add_button("Pause", hint="stand still, or go on")
        self._name_pause()
        does = {"Step": controls.step, "New goal": controls.new_goal, "Reset": controls.reset}
        more = gui.add_button_group("", tuple(does), hint="once, while paused; for the arm where it is; all anew")
        tour = gui.add_checkbox("tour", controls.lasting("tour"), hint="a new goal whenever one was held for a second")
        speed = gui.add_slider("speed", 0.1, 2.0, 0.1, 1.0, hint="of the simulation; 1 is real time")

        @self._pause.on_click
        def _(_: Any) -> None:
            controls.keep(paused=not controls.lasting("paused"))
            self._name_pause()

        more.on_click(lambda event: does[event.target.value]())
        tour.on_update(lambda _: controls.keep(tour=tour.value))
        speed.on_update(lambda _: controls.keep(speed=float(speed.value)))

    def _name_pause(self) -> None:
        self._pause.label = "Go on" if self.controls.lasting("paused") else "Pause"

    def _settings(self, config: PlannerConfig, settings: tuple[Slider | Choice, ...]) -> None:
        for setting in settings:
            value = 0 if setting.name == LOOPS else shown(config, setting.name)
            if isinstance(setting, Choice):
                handle = self.gui.add_dropdown(setting.name, setting.options, initial_value=value, hint=setting.hint)
            else:
                s = setting.over(value)
                handle = self.gui.add_slider(s.name, s.low, s.high, s.step, value, hint=s.hint)
            handle.on_update(lambda event, name=setting.name: self._asked(name, event))
            self._inputs[setting.name] = handle

    def _asked(self, name: str, event: Any) -> None:
        if event.client_id is not None:  # else it was `settle`
            value = event.target.value
            self.controls.set(name, round(value, 6) if isinstance(value, float) else value)
