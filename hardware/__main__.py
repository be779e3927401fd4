"""``python -m hardware NAME``: the control process of a bridge, started by ``ArmBridge.connect``."""

from __future__ import annotations

import sys

from .control_process import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hardware NAME (started by ArmBridge.connect, not by hand)")
    sys.exit(main(sys.argv[1]))
