"""``python -m hardware.emulators NAME [arguments]``: run one emulator until interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import EMULATORS, load


def main(arguments: Sequence[str]) -> int:
    """Run the emulator that is named first; without a name list them."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m hardware.emulators NAME [arguments]; NAME --help lists its arguments\n")
        print("\n".join(f"  {name:12} {text}" for name, (_, text) in sorted(EMULATORS.items())))
        return 0
    return load(arguments[0])(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
