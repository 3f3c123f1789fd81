from dataclasses import replace

import numpy as np
import pytest

from mae3d.datasets.simulators.driving.bodies import SIZES, build_body, sample_size
from mae3d.datasets.simulators.driving.scene import _collide, build_scene
from mae3d.datasets.simulators.driving.sensors import HDL_32E, HDL_64E, SENSORS
from mae3d.datasets.simulators.driving.simulate import MOMENTS, record
from mae3d.ops.ray_cast import CYLINDER


def inside(points: np.ndarray, box: np.ndarray, margin: float = 0.12) -> np.ndarray:
    offset = points[:, :3] - box[:3]
    c, s = np.cos(box[6]), np.sin(box[6])
    local = np.stack((offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s, offset[:, 2]), -1)
    return (np.abs(local) <= box[3:6] / 2 + margin).all(axis=1)


@pytest.mark.parametrize("name", SIZES)
def test_bodies_stay_inside_their_boxes(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        size = sample_size(name, rng)
        body = build_body(name, size, rng)
        half = np.where(body[:, :1] == CYLINDER, body[:, [4, 4, 6]], body[:, 4:7]) / 2
        low, high = (body[:, 1:4] - half).min(axis=0), (body[:, 1:4] + half).max(axis=0)
        assert (high[:2] <= size[:2] / 2 + 0.02).all()
        assert (low[:2] >= -size[:2] / 2 - 0.02).all()
        assert -0.02 <= low[2] < 0.1
        assert 0.9 * size[2] < high[2] <= 1.02 * size[2]
        assert ((body[:, 8] > 0) & (body[:, 8] <= 1)).all()


@pytest.mark.parametrize("seed", range(6))
def test_agents_never_run_into_each_other(seed):
    agents = build_scene(seed, 20.0).agents
    assert len(agents) > 15
    assert not any(_collide(a, b, 20.0) for i, a in enumerate(agents) for b in agents[:i])


def test_points_on_an_agent_lie_in_its_box_and_are_counted():
    scene = build_scene(2, 10.0)
    for sweep in record(scene, HDL_32E, 3, seed=0, start=4.0):
        np.testing.assert_array_equal(
            sweep.num_points, np.bincount(sweep.owner[sweep.owner >= 0], minlength=len(scene.agents))
        )
        hit = np.flatnonzero(sweep.num_points)
        assert len(hit) > 10
        for agent in hit:
            assert inside(sweep.points[sweep.owner == agent], sweep.boxes[agent]).mean() > 0.99


@pytest.mark.parametrize("name", SENSORS)
def test_beams_have_the_sensors_elevations_and_ranges(name):
    sensor = SENSORS[name]
    (sweep,) = record(build_scene(1, 5.0), sensor, 1, seed=3)
    x, y, z, intensity, ring = sweep.points.T
    ranges = np.sqrt(x**2 + y**2 + z**2)
    assert ranges.max() <= sensor.max_range + 5 * sensor.range_noise
    assert intensity.min() >= 0
    assert intensity.max() <= sensor.intensity_scale
    still = record(build_scene(1, 5.0), sensor, 1, seed=3, motion_distortion=True)
    distorted = next(still).points
    elevation = np.degrees(np.arcsin(distorted[:, 2] / np.linalg.norm(distorted[:, :3], axis=1)))
    np.testing.assert_allclose(elevation, np.array(sensor.elevations)[distorted[:, 4].astype(int)], atol=0.01)
    assert 0.5 * sensor.columns * len(sensor.elevations) > len(ring) * 0.5


def test_ground_is_at_minus_the_mounting_height():
    (sweep,) = record(build_scene(4, 5.0), HDL_64E, 1, seed=0)
    ground = sweep.points[(sweep.owner < 0) & (np.linalg.norm(sweep.points[:, :2], axis=1) < 5)]
    assert np.median(ground[:, 2]) == pytest.approx(-HDL_64E.height, abs=0.02)


def test_equal_seeds_give_equal_sweeps_and_others_differ():
    first = list(record(build_scene(7, 5.0), HDL_32E, 2, seed=1))
    again = list(record(build_scene(7, 5.0), HDL_32E, 2, seed=1))
    other = list(record(build_scene(7, 5.0), HDL_32E, 2, seed=2))
    assert all(np.array_equal(a.points, b.points) for a, b in zip(first, again))
    assert not np.array_equal(first[1].points, other[1].points)


def test_velocities_move_the_boxes():
    scene = next(s for s in (build_scene(seed, 5.0) for seed in range(50)) if s.ego_speed > 5)
    sweeps = list(record(scene, HDL_32E, 21, seed=0))
    early, late = sweeps[0], sweeps[20]
    elapsed = late.time - early.time
    centres = np.column_stack((early.boxes[:, :3], np.ones(len(early.boxes))))
    moved = centres.copy()
    moved[:, :2] += early.boxes[:, 7:9] * elapsed
    expected = moved @ early.world_from_sensor.T @ np.linalg.inv(late.world_from_sensor).T
    np.testing.assert_allclose(late.boxes[:, :3], expected[:, :3], atol=1e-6)


def test_compensation_removes_the_motion_of_the_vehicle():
    scene = next(s for s in (build_scene(seed, 5.0) for seed in range(50)) if s.ego_speed > 9)
    scene = replace(scene, agents=[replace(agent, speed=0.0) for agent in scene.agents])
    compensated = next(record(scene, HDL_64E, 1, seed=0))
    raw = next(record(scene, HDL_64E, 1, seed=0, motion_distortion=True))
    assert len(compensated.points) == len(raw.points)
    shift = np.linalg.norm(compensated.points[:, :2] - raw.points[:, :2], axis=1)
    np.testing.assert_allclose(shift, compensated.lag * scene.ego_speed, atol=0.08)


def test_traffic_moves_while_the_sensor_turns():
    """With distortion, points on an agent lie where it was when they were measured."""
    scene = next(s for s in (build_scene(seed, 5.0) for seed in range(50)) if s.ego_speed > 9)
    sweep = next(record(scene, HDL_64E, 1, seed=0, start=1.0, motion_distortion=True))
    poses = scene.ego_pose(sweep.time - sweep.lag)
    turn = np.stack([np.stack([f(poses[:, 2]) for f in row], -1) for row in ((np.cos, np.sin), (np.sin, np.cos))], 1)
    turn[:, 0, 1] *= -1
    world = np.einsum("nij,nj->ni", turn, sweep.points[:, :2]) + poses[:, :2]

    def outside(times):
        """Metres by which points of fast cars stick out of the car's box at ``times``."""
        found = []
        for number, agent in enumerate(scene.agents):
            own = sweep.owner == number
            if agent.speed < 5 or own.sum() < 20:
                continue
            moved = world[own] - agent.start - times[own, None] * agent.velocity
            c, s = np.cos(agent.heading), np.sin(agent.heading)
            along = np.abs(moved @ [c, s]) - agent.size[0] / 2
            found.append(along.max())
        return max(found)

    step = 13 / HDL_64E.rate_hz / MOMENTS  # what the fastest drives between two moments
    assert outside(sweep.time - sweep.lag) < step / 2 + 0.1
    assert outside(np.full(len(world), sweep.time)) > 0.25
