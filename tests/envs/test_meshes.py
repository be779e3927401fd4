"""Triangles of geoms: closed, of the right volume, where MuJoCo has the geom."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from envs.arms.arm import load_arm
from envs.meshes import GeomMesh, geom_meshes

KINDS = {
    "sphere": ('type="sphere" size="0.1"', 4 / 3 * np.pi * 0.1**3),
    "capsule": ('type="capsule" size="0.05 0.1"', np.pi * 0.05**2 * 0.2 + 4 / 3 * np.pi * 0.05**3),
    "cylinder": ('type="cylinder" size="0.05 0.1"', np.pi * 0.05**2 * 0.2),
    "ellipsoid": ('type="ellipsoid" size="0.05 0.1 0.2"', 4 / 3 * np.pi * 0.05 * 0.1 * 0.2),
    "box": ('type="box" size="0.05 0.1 0.2"', 8 * 0.05 * 0.1 * 0.2),
    "mesh": ('type="mesh" mesh="tetra"', 0.3 * 0.2 * 0.1 / 6),
}


def compiled(geom: str) -> mujoco.MjModel:
    tetra = '<mesh name="tetra" vertex="0 0 0 0.3 0 0 0 0.2 0 0 0 0.1"/>'
    body = f'<body pos="1 0 0"><freejoint/><geom name="it" pos="0.1 0.2 0.3" quat="0.5 0.1 -0.7 0.2" {geom}/></body>'
    return mujoco.MjModel.from_xml_string(f"<mujoco><asset>{tetra}</asset><worldbody>{body}</worldbody></mujoco>")


def volume_and_middle(mesh: GeomMesh) -> tuple[float, np.ndarray]:
    """By the divergence theorem: positive only where the faces look outwards and close the surface."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    parts = (a * np.cross(b, c)).sum(-1) / 6
    return float(parts.sum()), (parts[:, None] * (a + b + c) / 4).sum(0) / parts.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_volume_and_place(kind: str):
    text, volume = KINDS[kind]
    model = compiled(text)
    (mesh,) = geom_meshes(model)
    assert (mesh.name, mesh.body) == ("it", 1)
    found, middle = volume_and_middle(mesh)
    assert found == pytest.approx(volume, rel=0.04)  # polygons lie within circles
    if kind in ("box", "mesh"):
        assert found == pytest.approx(volume, rel=1e-5)
    # MuJoCo finds the centre of mass of a body of one geom by itself.
    assert np.allclose(middle, model.body_ipos[1], atol=1e-5)
    directed = np.concatenate([mesh.vertices[mesh.faces[:, [i, (i + 1) % 3]]] for i in range(3)])
    edges = np.round(directed, 6).reshape(-1, 2, 3)
    there = {tuple(map(tuple, edge)) for edge in edges}
    assert there == {(b, a) for a, b in there}  # every edge is walked both ways: closed


def test_vertices_lie_on_the_geom():
    """A ray from outside meets MuJoCo's ellipsoid where the triangles have their vertices."""
    model = compiled(KINDS["ellipsoid"][0])
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    (mesh,) = geom_meshes(model)
    world = mesh.vertices @ data.xmat[1].reshape(3, 3).T + data.xpos[1]
    middle, hit = data.geom_xpos[0], np.zeros(1, np.int32)
    for vertex in world[::7]:
        out = (vertex - middle) / np.linalg.norm(vertex - middle)
        reached = mujoco.mj_ray(model, data, middle + out, -out, None, 1, -1, hit)
        assert 1 - reached == pytest.approx(np.linalg.norm(vertex - middle), abs=1e-6)


def test_planes_are_drawn_to_their_size_and_height_fields_are_left_out():
    xml = """<mujoco><asset><hfield name="h" nrow="2" ncol="2" size="1 1 1 1"/></asset><worldbody>
      <geom type="plane" size="0.5 0 1"/> <geom type="hfield" hfield="h"/> <geom type="sphere" size="1" group="3"/>
    </worldbody></mujoco>"""
    (plane,) = geom_meshes(mujoco.MjModel.from_xml_string(xml))
    assert plane.name == "geom0" and np.ptp(plane.vertices, axis=0).tolist() == [1.0, 4.0, 0.0]


def test_an_arm_is_drawn_in_the_colours_of_its_materials():
    model = load_arm("panda").load_model(visuals=True)
    meshes = geom_meshes(model)
    drawn = [i for i in range(model.ngeom) if model.geom_group[i] != 3]
    assert len(meshes) == len(drawn) == len({mesh.name for mesh in meshes})
    for i, mesh in zip(drawn, meshes, strict=True):
        reach = np.linalg.norm(mesh.vertices - model.geom_pos[i], axis=1).max()
        assert reach <= model.geom_rbound[i] + 1e-6 or model.geom_rbound[i] == 0
        if model.geom_matid[i] >= 0:
            assert mesh.rgba == pytest.approx(model.mat_rgba[model.geom_matid[i]])
    assert len({mesh.rgba for mesh in meshes}) > 3
