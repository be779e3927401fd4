"""A GL context to draw with: what is asked for, or the first that this machine can open."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

BACKENDS = {
    "egl": "without a window, on a GPU or in software; Debian: apt-get install libegl1",
    "osmesa": "without a window, in software; Debian: apt-get install libosmesa6",
    "glfw": "through a window system: needs DISPLAY",
    "cgl": "on macOS",
}
"""What MUJOCO_GL can be, and what each needs."""
OFF = ("off", "disable", "disabled", "false", "0")
_LOADED = ("OpenGL", "mujoco.egl", "mujoco.osmesa", "mujoco.glfw")


def backends(environ: Mapping[str, str], platform: str) -> tuple[str, ...]:
    """Back ends to try, in their order.

    Args:
        environ: of the process; MUJOCO_GL leaves only one.
        platform: as `sys.platform`.

    Raises:
        RuntimeError: MUJOCO_GL switches drawing off, or is unknown.
    """
    wanted = environ.get("MUJOCO_GL", "").lower().strip()
    if wanted in OFF:
        raise RuntimeError(f"MUJOCO_GL is '{wanted}', which switches drawing off; unset it to draw")
    if wanted:
        if wanted not in BACKENDS:
            raise RuntimeError(f"MUJOCO_GL is '{wanted}', allowed {', '.join(BACKENDS)}, or unset to have it chosen")
        return (wanted,)
    if platform == "darwin":
        return ("cgl",)
    if platform != "linux":
        return ("glfw",)
    screen = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return ("glfw", "egl", "osmesa") if screen else ("egl", "osmesa")


def open_context(width: int, height: int) -> Any:
    """Open a context of MuJoCo's and make it current.

    MuJoCo reads MUJOCO_GL once, at its first import; choosing here works whatever was imported before.

    Args:
        width: of the largest picture [pixels].
        height: of the largest picture [pixels].

    Raises:
        RuntimeError: none can be opened; the message says what each of them answered and needs.
    """
    failed = []
    for name in backends(os.environ, sys.platform):
        before = os.environ.get("PYOPENGL_PLATFORM")
        known = set(sys.modules)
        try:
            context = import_module(f"mujoco.{name}").GLContext(width, height)
            if not getattr(context, "_context", True):
                raise RuntimeError("it opens no window")
            context.make_current()
            return context
        except Exception as error:  # the back ends raise many types, from ImportError to GLError
            text = " ".join(str(error).split()) or type(error).__name__
            failed.append(f"{name}: {text} ({BACKENDS[name]})")
            _forget(known, before)
    raise RuntimeError(
        f"no GL context on this machine; tried {'; '.join(failed)}; install one of these, or draw nothing "
        "(render_mode=None)"
    )


def _forget(known: set[str], platform: str | None) -> None:
    """Undo what a back end that failed has loaded: PyOpenGL binds to one platform for good at its first import."""
    for name in set(sys.modules) - known:
        if any(name == package or name.startswith(f"{package}.") for package in _LOADED):
            del sys.modules[name]
    if platform is None:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    else:
        os.environ["PYOPENGL_PLATFORM"] = platform
