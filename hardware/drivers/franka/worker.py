"""The vendor's client in a process of its own: ``python -m hardware.drivers.franka.worker`` (started by the driver).

franky 2.0.0 waits for states up to a second, and without end when a damaged one told a time far ahead; its errors come
out of the next call, whichever that is; a dead connection to the hand is waited for without end. Here it can hang or
crash, and the driver ends it. So it is with pylibfranka, which besides keeps the interpreter while it waits.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import socket
import sys
import time
from dataclasses import replace

import numpy as np

from ...wire import WireError
from ...wire.franka_models import Description, find, parse_urdf
from . import posting
from .hand import Hand
from .messages import Kind, Report, Settings
from .serving import KEPT, Lost, Serving, words
from .streaming import Streaming

_GEOMETRY_M = 1e-3


def _info(description: Description, settings: Settings) -> Report:
    model = find(settings.model)
    worst = float(np.abs(description.origins - np.array(model.origins)).max())
    turned = float(np.abs(2.0 * np.sin(0.5 * (description.rolls - np.array(model.rolls)))).max())
    text = description.name
    if worst > _GEOMETRY_M or turned > _GEOMETRY_M:
        apart = f"{worst:.3f} m and {turned:.3f} rad from those of '{model.name}'"
        text = f"it describes itself as '{description.name}' with joints {apart}"
    sevens = (tuple(description.q_min.tolist()), tuple(description.q_max.tolist()), tuple(description.dq_max.tolist()))
    return Report(Kind.INFO, text == description.name, time.monotonic(), 0.0, *sevens, text=text)


def _connect_franky(link: socket.socket, settings: Settings) -> Serving:
    import franky

    realtime = franky.RealtimeConfig.Enforce if settings.realtime else franky.RealtimeConfig.Ignore
    thresholds = (settings.torque_nm, settings.force_n)
    robot = franky.Robot(settings.host, 1.0, *thresholds, realtime_config=realtime)
    KEPT.append(robot)
    said = parse_urdf(robot.model_urdf)
    # franky has bounds of its own, those of the Panda in the wheels of version 2.0.0.
    description = replace(said, dq_max=np.minimum(said.dq_max, robot.joint_velocity_limit.max))
    hand = Hand(franky, settings.host) if settings.gripper else None
    KEPT.append(hand)
    opening = math.nan if hand is None else hand.opening
    link.sendall(replace(_info(description, settings), gripper=opening).pack())
    return Streaming(link, franky, robot, settings, description, hand)


def main(arguments: list[str]) -> int:
    """Run the client: file descriptor of the link, settings as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for the bridge, which brakes first
    link = socket.socket(fileno=int(arguments[0]))
    settings = Settings(**json.loads(arguments[1]))
    connect = posting.connect if settings.client == "pylibfranka" else _connect_franky
    try:
        serving = connect(link, settings)
        KEPT.append(serving)
        serving.run()
    except Exception as error:  # whatever the vendor raises, told to the driver
        text = str(error) if isinstance(error, Lost | WireError) else words(error)
        with contextlib.suppress(OSError):
            link.sendall(Report(Kind.LOST, False, text=text).pack())
        return 1
    return 0


if __name__ == "__main__":
    import os

    status = main(sys.argv[1:])
    os._exit(status)  # without the destructors
