"""A Franka arm's controller: ``python -m hardware.emulators franka``.

The control interface (TCP 1337, UDP) and the hand (TCP 1338) over a simulated arm. The ports are fixed because the
vendor's client knows no others; several emulators run side by side on 127.0.0.2 and on. What is not like the device is
told in docs/hardware/franka.md.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from ...wire.franka_models import MODELS, N
from ..command import controller_parser, pose, until_ended
from .arm import FrankaArm
from .controller import Controller
from .emulator import FAULTS, FrankaEmulator

__all__ = ["FAULTS", "Controller", "FrankaArm", "FrankaEmulator", "main"]


def main(arguments: Sequence[str]) -> int:
    """Run the emulator."""
    parser = controller_parser("franka", __doc__, sorted(MODELS), "fr3")
    parser.add_argument("--joints", nargs=N, help="its joints from base to tool")
    parser.add_argument("--home", type=pose(N), help="first pose [rad], such as --home=0,-0.8,0,-2.4,0,1.6,0.8")
    parser.add_argument("--lost-packets", type=int, default=20, help="set-points that may be missing in a row")
    parser.add_argument("--patience", type=float, default=0.02, help="wait for a late set-point [s]; 0 on the device")
    parser.add_argument("--locked", action="store_true", help="start with closed brakes, as a controller does")
    a = parser.parse_args(arguments)
    model = MODELS[a.model]
    controller = Controller(FrankaArm(model, a.mjcf, a.joints, a.home), model, a.lost_packets)
    if a.locked:
        controller.power(False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return until_ended("Franka", a.host, lambda: FrankaEmulator(controller, a.host, a.patience).run(a.until_eof))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
