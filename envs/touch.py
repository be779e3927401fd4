"""Sensors that count contacts: what a task sees of them where many environments are stepped at once."""

from __future__ import annotations

import mujoco


def touch_of_geom(spec: mujoco.MjSpec, geom: str) -> None:
    """Add a sensor that sees every contact of a geom.

    Args:
        spec: scene, from `Arm.load_model(edit=...)`.
        geom: its name.

    Raises:
        RuntimeError: this MuJoCo has no contact sensors.
    """
    _add(spec, objtype=mujoco.mjtObj.mjOBJ_GEOM, objname=geom)


def touch_of_body(spec: mujoco.MjSpec, body: str) -> None:
    """Add sensors that see the contacts of a body, and of what hangs on it, with everything else that moves.

    Args:
        spec: scene, from `Arm.load_model(edit=...)`.
        body: its name; it stands on the table or moves over it.

    Raises:
        RuntimeError: this MuJoCo has no contact sensors.
    """
    subtree = mujoco.mjtObj.mjOBJ_XBODY
    for other in _moving(spec.worldbody):
        if other != body:
            _add(spec, objtype=subtree, objname=body, reftype=subtree, refname=other)


def _moving(body: mujoco.MjsBody) -> list[str]:
    """Bodies below `body` that move in it: what is fixed is fused with it when the scene is compiled."""
    roots = [[child.name] if child.joints else _moving(child) for child in body.bodies]
    return [name for names in roots for name in names]


def _add(spec: mujoco.MjSpec, **between: object) -> None:
    if not hasattr(mujoco.mjtSensor, "mjSENS_CONTACT"):
        raise RuntimeError(
            f"MuJoCo {mujoco.__version__} has no contact sensors, which batched tasks with contacts need; install a "
            "newer one, or make the environments with vectorization_mode='sync'"
        )
    found = 1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND)
    # What is read, no reduction, one slot.
    spec.add_sensor(type=mujoco.mjtSensor.mjSENS_CONTACT, intprm=[found, 0, 1], **between)
