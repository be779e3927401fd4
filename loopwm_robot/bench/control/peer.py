"""A training of somebody else, in a process of its own: python -m loopwm_robot.bench.control.peer FOLDER

FOLDER holds request.json; the process writes curve.json beside it, whenever it has measured. An interrupted training
begins anew, since the code of others is run as it is.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ...schema import build
from . import sac, tdmpc2
from .curve import Curve
from .judge import CURVE, REQUEST, Judge, PeerRequest
from .races import SAC, TDMPC2

TRAINERS = {SAC: sac.train, TDMPC2: tdmpc2.train}


def run(request: PeerRequest, file: Path, began: float) -> Curve:
    """Train a peer to its target or its limit."""
    torch.set_num_threads(request.threads)
    judge = Judge(request, file, began)
    TRAINERS[request.peer](request, judge)
    judge.env.close()
    return judge.curve


def main(arguments: Sequence[str]) -> int:
    """Do what the folder on the command line asks for; its clock begins here, when all that is ours is imported."""
    folder, began = Path(arguments[0]), time.monotonic()
    values = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    run(build(PeerRequest, values["request"]), folder / CURVE, began)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
