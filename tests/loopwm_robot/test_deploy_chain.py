"""The chain taken from an MJCF against MuJoCo itself, and chains given in a file against the MJCF."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

from envs import known_arms, load_arm
from hardware import FakeClock, Guard, SceneConfig
from loopwm_robot.cli import deploy
from loopwm_robot.cli.compose import compose
from loopwm_robot.deploy import ArmConfig, make_bridge
from loopwm_robot.deploy.chain import _capsule, chain_of
from loopwm_robot.errors import RequestError
from loopwm_robot.schema import build, plain

FILE = Path(__file__).parents[2] / "configs/arm/panda_sim.yaml"
ARM = load_arm("panda")


def config(**changes) -> ArmConfig:
    return build(ArmConfig, yaml.safe_load(FILE.read_text()) | changes, "arm")


def given(**changes) -> dict:
    return chain_of("panda").to_mapping() | changes


@pytest.mark.parametrize("name", known_arms())
def test_points_and_distances_are_those_of_mujoco(name):
    arm, chain = load_arm(name), chain_of(name)
    model = arm.load_model()
    data = mujoco.MjData(model)
    guard = Guard(chain, SceneConfig(self_collision=True), 0.004)
    poses = np.random.default_rng(0).uniform(arm.q_min, arm.q_max, (60, arm.n))
    tool, compared = chain.ends(poses)[:, chain.index("tcp"), 0], 0
    for pose, tcp, apart in zip(poses, tool, guard.clearances(poses), strict=True):
        data.qpos[: arm.n] = pose
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(tcp, data.site(arm.ee_site).xpos, atol=1e-12)
        for pair, found in zip(guard.names, apart, strict=True):
            a, b = (model.geom(geom).id for geom in pair.split(" and "))
            kinds = {int(model.geom_type[a]), int(model.geom_type[b])}
            true = mujoco.mj_geomDistance(model, data, a, b, 9.0, None)
            if true > 1e-3:
                exact = kinds <= {int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_SPHERE)}
                assert abs(found - true) < 1e-9 if exact else found <= true + 1e-6
                compared += 1
    assert compared > 100


def test_pairs_are_those_that_mujoco_tests():
    names = {frozenset(pair) for pair in chain_of("panda").pairs}
    assert frozenset(("link0_collision", "gripper_hand_collision")) in names
    assert frozenset(("link3_collision", "link5_collision")) not in names  # excluded in the MJCF
    assert frozenset(("link5_collision", "link7_collision")) not in names  # both of the class far


def test_every_shape_is_covered_by_its_capsule():
    xml = """<mujoco><worldbody>
      <geom type="box" size="0.1 0.3 0.2"/><geom type="cylinder" size="0.1 0.3"/><geom type="sphere" size="0.2"/>
      <geom type="ellipsoid" size="0.1 0.3 0.2"/><geom type="plane" size="1 1 1"/>
    </worldbody></mujoco>"""
    model, rng = mujoco.MjModel.from_xml_string(xml), np.random.default_rng(0)
    box = rng.choice([-1.0, 1.0], (50, 3)) * [0.1, 0.3, 0.2]
    round_ = rng.normal(size=(200, 3))
    round_ /= np.linalg.norm(round_, axis=1, keepdims=True)
    rim = np.concatenate([round_[:, :2] / np.linalg.norm(round_[:, :2], axis=1, keepdims=True) * 0.1,
                          rng.choice([-0.3, 0.3], (200, 1))], axis=1)
    for geom, points in enumerate((box, rim, 0.2 * round_, round_ * [0.1, 0.3, 0.2])):
        start, end, radius = _capsule(model, geom)
        v = end - start
        t = np.clip((points - start) @ v / max(v @ v, 1e-12), 0.0, 1.0)
        assert (np.linalg.norm(points - start - t[:, None] * v, axis=1) <= radius + 1e-9).all()
    assert _capsule(model, 4) is None


def test_a_scene_in_the_file_of_an_arm_reaches_the_bridge():
    scene = {
        "self_collision": True,
        "planes": [{"name": "table", "point": [0, 0, 0], "normal": [0, 0, 1]}],
        "workspaces": [{"lower": [0.2, -0.5, 0.0], "upper": [0.8, 0.5, 1.0], "of": ["tcp", "joint4"]}],
        "speed_max": 0.25,
    }
    first = config(scene=scene)
    assert build(ArmConfig, yaml.safe_load(yaml.safe_dump(plain(first)))) == first
    with make_bridge(first, lockstep=True, clock=FakeClock(1.0)) as bridge:
        guard = bridge._spec.guard()
        assert guard is not None and "gripper_hand_collision and table" in guard.names
        assert bridge._link.executor.filter.guard is not None
    with make_bridge(config(), lockstep=True, clock=FakeClock(1.0)) as bridge:
        assert bridge._link.executor.filter.guard is None  # nothing is looked at by default


def test_a_chain_in_the_file_that_agrees_is_taken():
    chain = given()
    chain["bodies"][4]["radius"] = 0.07  # fatter is a choice
    with make_bridge(config(chain=chain, scene={"self_collision": True}), lockstep=True) as bridge:
        assert bridge._spec.chain.bodies[4].radius == 0.07


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["joints"].pop(), "the MJCF has"),
        (lambda c: c["joints"][3].update(pos=[0.1825, 0.0, 0.0]), "has the frame of 'joint4' elsewhere than the MJCF"),
        (lambda c: c["bodies"][2].update(radius=0.05), "'link3_collision' does not cover"),
        (lambda c: c["bodies"][2].update(frame=2), "'link3_collision' does not cover"),
        (lambda c: c.update(bodies=c["bodies"][:-1]), "lacks the body 'joint7'"),
        (lambda c: c.update(pairs=c["pairs"][1:]), "lacks the pair link0_collision and link5_collision"),
    ],
)
def test_a_chain_that_disagrees_with_the_mjcf_is_refused(change, text):
    chain = given()
    chain = {key: [dict(x) if isinstance(x, dict) else x for x in value] for key, value in chain.items()}
    change(chain)
    if len(chain["joints"]) < ARM.n:
        chain.update(bodies=[], pairs=[])
    with pytest.raises(RequestError, match=text):
        make_bridge(config(chain=chain, scene={"self_collision": True}), lockstep=True)


def test_a_malformed_scene_names_its_key():
    with pytest.raises(RequestError, match=r"unknown key 'arm\.scene\.margin'"):
        config(scene={"margin": 0.1})
    with pytest.raises(RequestError, match="margin_m 2 m, allowed"):
        config(scene={"margin_m": 2.0})
    with pytest.raises(RequestError, match="no joints"):
        config(chain={"joints": []})


def test_a_scene_can_be_given_on_the_command_line():
    overrides = [
        "checkpoint=x",
        "arm.scene.speed_max=0.25",
        "arm.scene.planes=[{name: table, point: [0, 0, 0], normal: [0, 0, 1]}]",
    ]
    scene = compose(deploy.CONFIG_NAME, overrides, deploy.SCHEMA).arm.scene
    assert scene.speed_max == 0.25 and scene.planes[0].normal == (0.0, 0.0, 1.0) and not scene.self_collision
