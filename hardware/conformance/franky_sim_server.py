"""``python -m hardware.conformance.franky_sim_server HOST Q1 .. Q7``: franky-sim, with a way to ask for the truth.

https://github.com/TimSchneider42/franky-sim (Apache-2.0): an FR3 in MuJoCo behind the interface of the arm, by other
people than those of our emulator. A line on standard input asks for the true joint positions [rad], which come as a
JSON list; the end of the input ends the server.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence

from franky_sim import SimulationServer
from franky_sim.mujoco_simulator import MujocoSimulator


def main(arguments: Sequence[str]) -> int:
    """Serve one arm until the input ends."""
    host, *home = arguments
    with MujocoSimulator(enable_visualization=False) as sim:
        robot = sim.add_robot(initial_q=[float(q) for q in home])
        with SimulationServer(sim, hostname_candidates=[host]) as server:

            def answer() -> None:
                for _ in sys.stdin:
                    print(json.dumps([float(q) for q in robot.inner_state.q]), flush=True)
                server.running = False

            threading.Thread(target=answer, daemon=True).start()
            print(json.dumps(robot.hostname), flush=True)
            server.run_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
