"""A place to draw into, on machines with and without a screen."""

from __future__ import annotations

import os
import sys
from typing import Any


def open_gl_context(width: int, height: int) -> Any:
    """Open the context that MUJOCO_GL names; without it EGL on a Linux machine that has no display.

    MuJoCo reads MUJOCO_GL once, at its first import; choosing here works whatever was imported before.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not wanted and sys.platform == "linux" and not has_display:
        wanted = "egl"
    try:
        if wanted == "egl":
            from mujoco.egl import GLContext
        elif wanted == "osmesa":
            from mujoco.osmesa import GLContext
        elif sys.platform == "darwin":
            from mujoco.cgl import GLContext
        else:
            from mujoco.glfw import GLContext
        return GLContext(width, height)
    except Exception as error:  # the back ends raise many types, from ImportError to GLError
        raise RuntimeError(
            f"no GL context with MUJOCO_GL={wanted or 'unset'}: {error}; set MUJOCO_GL to egl or osmesa "
            "(packages libegl1 or libosmesa6), or leave render_mode=None"
        ) from error
