"""Sensors that count contacts: what a task sees of them where many environments are stepped at once."""

from __future__ import annotations

import mujoco


def add_touch_sensor(spec: mujoco.MjSpec, geom: str, body: str | None = None) -> None:
    """Count the contacts of a geom at every physics step.

    Args:
        spec: scene, from `Arm.load_model(edit=...)`.
        geom: name of the geom.
        body: name of a body that the contacts are with, or with what hangs on it; None counts them all.

    Raises:
        RuntimeError: this MuJoCo has no contact sensors.
    """
    if not hasattr(mujoco.mjtSensor, "mjSENS_CONTACT"):
        raise RuntimeError(
            f"MuJoCo {mujoco.__version__} has no contact sensors, which batched tasks with contacts need; install a "
            "newer one, or make the environments with vectorization_mode='sync'"
        )
    with_body = {} if body is None else {"reftype": mujoco.mjtObj.mjOBJ_XBODY, "refname": body}
    spec.add_sensor(
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_GEOM,
        objname=geom,
        intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 0, 1],  # what is read, no reduction, one slot
        **with_body,
    )


def moving_roots(body: mujoco.MjsBody) -> list[str]:
    """Names of the bodies below `body` that move in it: what is fixed is fused with it when the scene is compiled."""
    roots = [[child.name] if child.joints else moving_roots(child) for child in body.bodies]
    return [name for names in roots for name in names]
