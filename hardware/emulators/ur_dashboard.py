"""The emulated dashboard server, TCP port 29999: one line in, one line out, words as PolyScope 5 answers them.

Source: Universal Robots, "Dashboard Server e-Series, port 29999".
"""

from __future__ import annotations

from .ur_controller import Controller, RobotMode

GREETING = "Connected: Universal Robots Dashboard Server"
POLYSCOPE = (5, 12, 2, 1101661)
"""Version that is played: major, minor, bug fix, build."""
SERIAL = "20000000000"


def answer(controller: Controller, line: str) -> str:
    """Carry out one command and return the reply, without the line end."""
    words = line.strip()
    lower = words.lower()
    program = "PLAYING" if controller.running else "STOPPED"
    facts = {
        "polyscopeversion": f"URSoftware {'.'.join(map(str, POLYSCOPE))} (Jul 01 2022)",
        "get serial number": SERIAL,
        "get robot model": controller.model.name.upper().removesuffix("E"),
        "robotmode": f"Robotmode: {controller.robot_mode.name}",
        "safetymode": f"Safetymode: {controller.safety_mode.name}",
        "safetystatus": f"Safetystatus: {controller.safety_mode.name}",
        "programstate": f"{program} <unnamed>",
        "is in remote control": str(controller.remote).lower(),
        "running": f"Program running: {str(controller.running).lower()}",
        "close safety popup": "closing safety popup",
        "close popup": "closing popup",
        "quit": "Disconnected",
    }
    if lower in facts:
        return facts[lower]
    if lower == "stop":
        controller.end_program("dashboard")
        return "Stopped"
    if lower == "unlock protective stop":
        return controller.unlock() or "Protective stop releasing"
    for command, mode, done in (
        ("power on", RobotMode.IDLE, "Powering on"),
        ("power off", RobotMode.POWER_OFF, "Powering off"),
        ("brake release", RobotMode.RUNNING, "Brake releasing"),
    ):
        if lower == command:
            return done if controller.power(mode) else f"could not execute: {command}"
    return f'could not understand: "{words}"'
