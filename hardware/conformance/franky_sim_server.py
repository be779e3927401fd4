"""``python -m hardware.conformance.franky_sim_server HOST Q1 .. Q7 --until-eof``: franky-sim with a side channel.

https://github.com/TimSchneider42/franky-sim (Apache-2.0): an FR3 in MuJoCo behind the interface of the arm, by other
people than those of our emulator. It answers `truth` and `heal` as an emulator does and knows no failures.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence
from typing import Any

from franky_sim import SimulationServer
from franky_sim.mujoco_simulator import MujocoSimulator

from ..emulators.console import Console

KV = (200.0, 200.0, 150.0, 150.0, 60.0, 60.0, 60.0)
"""Damping of the joints [N m s/rad]. Its own 200 at the wrist, once a millisecond on 0.08 kg m^2, is more than is
stable there (2 x inertia / step = 160): after a hard stop the wrist trembles at 0.06 to 0.1 rad/s for ever."""


def main(arguments: Sequence[str]) -> int:
    """Serve one arm until the input ends."""
    host, *home = (word for word in arguments if word != "--until-eof")
    with MujocoSimulator(enable_visualization=False) as sim:
        robot = sim.add_robot(initial_q=[float(q) for q in home], kv=KV)

        def handle(word: str, settings: dict[str, Any]) -> dict[str, Any]:
            if word not in ("truth", "heal"):
                raise ValueError(f"'{word}' is unknown; known: truth, heal")
            return {"q": [float(q) for q in robot.inner_state.q]}

        with SimulationServer(sim, hostname_candidates=[host]) as server:
            server.run_async()
            console = Console(handle, until_eof=True)
            console.ready(host=robot.hostname)
            while not console.ended:
                select.select([console], [], [])
                console.poll()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
