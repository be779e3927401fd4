"""LoopWM for robot arms: a looped world model, the training, the planning agent and the command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.loopwm import LoopWM

__all__ = ["LoopWM", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import LoopWM, and torch with it, only when somebody asks for it."""
    if name == "LoopWM":
        from .models.loopwm import LoopWM

        return LoopWM
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def _check_siblings() -> None:
    """Make sure that envs, planners and hardware are this project's own.

    Other distributions install packages of these names, and pip overwrites silently. Looking the
    names up does not import them.

    Raises:
        ImportError: one of them resolves to another place, or is not installed.
    """
    home = Path(__file__).resolve().parent.parent
    for name in ("envs", "planners", "hardware"):
        expected = home / name
        try:
            spec = importlib.util.find_spec(name)
        except ValueError:  # a module put into sys.modules by hand has no spec
            spec = None
        if spec is None:
            raise ImportError(
                f"package '{name}' was not found, expected at {expected}; install loopwm-robot again"
            )
        places = [Path(place).resolve() for place in spec.submodule_search_locations or []]
        if expected not in places:
            found = ", ".join(map(str, places)) or spec.origin
            raise ImportError(
                f"package '{name}' resolves to {found}, but loopwm_robot needs {expected}; "
                f"another distribution installs a package named '{name}': uninstall it, "
                f"or use an environment of its own for loopwm-robot"
            )


_check_siblings()
