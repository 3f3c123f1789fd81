"""A street and its traffic: what stands still, who moves, and where everybody is at a given time.

World frame: x along the street, y to the left, z up from flat ground; metres, seconds, radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mae3d.datasets.simulators.driving.bodies import build_body, sample_size
from mae3d.ops.ray_cast import BOX, CYLINDER, ELLIPSOID

LANE = 3.5
KERB = 5.6
WALL = 11.5


@dataclass(frozen=True)
class Agent:
    """A road user, or an object that the data sets annotate.

    Attributes:
        name: Class.
        size: Length, width, height [3].
        start: x, y at time 0 [2].
        heading: Yaw, constant.
        speed: Metres a second along the heading.
        body: Solids in its own frame, float32 [P, 9] (see :mod:`bodies`).
    """

    name: str
    size: np.ndarray
    start: np.ndarray
    heading: float
    speed: float
    body: np.ndarray

    @property
    def velocity(self) -> np.ndarray:
        """World velocity [2]."""
        return self.speed * np.array([np.cos(self.heading), np.sin(self.heading)])

    def position(self, time: float) -> np.ndarray:
        """World x, y at ``time`` [2]."""
        return self.start + time * self.velocity

    def box(self, time: float) -> np.ndarray:
        """World box [9]: x y z l w h yaw vx vy; z is the centre."""
        return np.array([*self.position(time), self.size[2] / 2, *self.size, self.heading, *self.velocity])


@dataclass
class Scene:
    """A street of a given length with its traffic.

    Attributes:
        agents: Everything that is annotated.
        static: Solids of the surroundings in the world frame, float32 [P, 9].
        ego_speed: Metres a second.
        sway: Amplitude (m) and angular frequency (rad/s) of the ego vehicle's lateral motion.
    """

    agents: list[Agent]
    static: np.ndarray
    ego_speed: float
    sway: tuple[float, float]

    def ego_pose(self, time: np.ndarray | float) -> np.ndarray:
        """Planar pose of the ego vehicle, [..., 3]: x, y, yaw. It drives in the right lane along +x."""
        time = np.asarray(time, dtype=np.float64)
        amplitude, frequency = self.sway
        x = self.ego_speed * time
        y = -LANE / 2 + amplitude * np.sin(frequency * time)
        slope = amplitude * frequency * np.cos(frequency * time)
        return np.stack((x, y, np.arctan2(slope, max(self.ego_speed, 1.0))), axis=-1)

    def solids(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """All solids at ``time`` in the world, float32 [P, 9], and their owner: agent number or -1, int64 [P]."""
        parts, owners = [self.static], [np.full(len(self.static), -1)]
        for number, agent in enumerate(self.agents):
            parts.append(_place(agent.body, *agent.position(time), agent.heading))
            owners.append(np.full(len(agent.body), number))
        return np.concatenate(parts).astype(np.float32), np.concatenate(owners)


def _place(body: np.ndarray, x: float, y: float, yaw: float) -> np.ndarray:
    placed = body.astype(np.float64)
    c, s = np.cos(yaw), np.sin(yaw)
    placed[:, 1], placed[:, 2] = x + c * body[:, 1] - s * body[:, 2], y + s * body[:, 1] + c * body[:, 2]
    placed[:, 7] += yaw
    return placed


def build_scene(seed: int, duration: float) -> Scene:
    """A random street with traffic for ``duration`` seconds. Equal seeds give equal scenes."""
    rng = np.random.default_rng(seed)
    ego_speed = float(rng.choice([0.0, rng.uniform(2, 8), rng.uniform(6, 13)], p=[0.15, 0.45, 0.4]))
    begin, end = -70.0, ego_speed * duration + 70.0
    return Scene(
        agents=_traffic(rng, begin, end, duration, ego_speed),
        static=_surroundings(rng, begin, end),
        ego_speed=ego_speed,
        sway=(float(rng.uniform(0, 0.4)), float(rng.uniform(0.2, 0.6))),
    )


def _surroundings(rng: np.random.Generator, begin: float, end: float) -> np.ndarray:
    solids: list[tuple[float, ...]] = []
    middle, length = (begin + end) / 2, end - begin + 60
    for side in (-1, 1):
        solids.append((BOX, middle, side * (KERB + WALL) / 2, 0.07, length, WALL - KERB, 0.14, 0, 0.35))
        solids += _houses(rng, begin, end, side)
        solids += _street_furniture(rng, begin, end, side)
    return np.asarray(solids, dtype=np.float32).reshape(-1, 9)


def _houses(rng: np.random.Generator, begin: float, end: float, side: int) -> list[tuple[float, ...]]:
    solids, x = [], begin - 10
    while x < end + 10:
        width, depth, height = rng.uniform(7, 22), rng.uniform(7, 14), rng.uniform(4, 16)
        front = WALL + rng.choice([0.0, rng.uniform(0.5, 8), rng.uniform(8, 25)], p=[0.35, 0.4, 0.25])
        y = side * (front + depth / 2)
        solids.append((BOX, x + width / 2, y, height / 2, width, depth, height, 0, rng.uniform(0.25, 0.6)))
        if rng.random() < 0.4:  # a porch
            solids.append((BOX, x + width / 2, side * (front - 0.6), 1.3, 2.4, 1.2, 2.6, 0, 0.4))
        gap = rng.choice([0.3, rng.uniform(2, 9), rng.uniform(9, 30)], p=[0.35, 0.4, 0.25])
        if gap > 2 and rng.random() < 0.6:
            solids.append((BOX, x + width + gap / 2, side * (WALL + 0.4), 0.6, min(gap, 9.0), 0.6, 1.2, 0, 0.5))
        x += width + gap
    return solids


def _street_furniture(rng: np.random.Generator, begin: float, end: float, side: int) -> list[tuple[float, ...]]:
    solids = []
    for x in np.arange(begin, end, rng.uniform(16, 30)):
        x, y = x + rng.normal(0, 1.5), side * (KERB + 0.7)
        if rng.random() < 0.5:
            solids.append((CYLINDER, x, y, 3.5, 0.2, 0.2, 7.0, 0, 0.5))
            solids.append((BOX, x, y - side * 0.9, 6.8, 0.3, 1.8, 0.2, 0, 0.5))
        else:
            trunk, crown = rng.uniform(1.8, 3), rng.uniform(2, 4.5)
            solids.append((CYLINDER, x, y, trunk / 2, 0.35, 0.35, trunk, 0, 0.3))
            for _ in range(3):
                dx, dy, dz = rng.normal(0, 0.35, 3)
                size = crown * rng.uniform(0.5, 0.8)
                solids.append((ELLIPSOID, x + dx, y + dy, trunk + crown / 3 + dz, size, size, size * 0.9, 0, 0.4))
    for x in rng.uniform(begin, end, int((end - begin) / 35)):
        y = side * (KERB + rng.uniform(0.5, 1.2))
        solids.append((CYLINDER, x, y, 1.2, 0.07, 0.07, 2.4, 0, 0.6))
        solids.append((BOX, x, y, 2.3, 0.05, 0.6, 0.6, 0, 1.0))
    return solids


def _traffic(rng: np.random.Generator, begin: float, end: float, duration: float, ego_speed: float) -> list[Agent]:
    length = end - begin
    ego = Agent("car", np.array([5.0, 2.0, 1.8]), np.array([0.0, -LANE / 2]), 0.0, ego_speed, np.zeros((0, 9)))
    agents = [ego]
    plan = {
        "parked": length / 14,
        "driving": length / 18,
        "walking": length / 9,
        "cycling": length / 28,
        "works": length / 45,
    }
    for kind, expected in plan.items():
        for _ in range(rng.poisson(expected)):
            for agent in _PLACERS[kind](rng, begin, end, ego_speed, duration):
                if not any(_collide(agent, other, duration) for other in agents):
                    agents.append(agent)
    return agents[1:]


def _make(rng, name: str, x: float, y: float, heading: float, speed: float) -> Agent:
    size = sample_size(name, rng)
    return Agent(name, size, np.array([x, y]), float(heading), float(speed), build_body(name, size, rng))


def _parked(rng, begin, end, ego_speed, duration) -> list[Agent]:
    side = rng.choice([-1, 1])
    name = rng.choice(
        ["car", "truck", "trailer", "bus", "motorcycle", "bicycle"], p=[0.76, 0.08, 0.04, 0.02, 0.05, 0.05]
    )
    heading = (0 if side < 0 else np.pi) + rng.normal(0, 0.03)
    return [_make(rng, name, rng.uniform(begin, end), side * (KERB - 1.15), heading, 0.0)]


def _driving(rng, begin, end, ego_speed, duration) -> list[Agent]:
    name = rng.choice(["car", "truck", "bus", "trailer", "motorcycle"], p=[0.74, 0.1, 0.06, 0.03, 0.07])
    oncoming = rng.random() < 0.6
    speed = rng.choice([0.0, rng.uniform(3, 13)], p=[0.15, 0.85])
    if not oncoming:
        speed = max(0.0, ego_speed + rng.normal(0, 1.0))
    reach = speed * duration if oncoming else 0.0
    x, y = rng.uniform(begin, end + reach), (LANE / 2 if oncoming else -LANE / 2) + rng.normal(0, 0.15)
    return [_make(rng, name, x, y, np.pi if oncoming else 0.0, speed)]


def _walking(rng, begin, end, ego_speed, duration) -> list[Agent]:
    side = rng.choice([-1, 1])
    x, y = rng.uniform(begin, end), side * rng.uniform(KERB + 0.8, WALL - 1.0)
    if rng.random() < 0.12:  # crossing the street
        y, heading = side * rng.uniform(2, KERB), -side * np.pi / 2
    else:
        heading = rng.choice([0, np.pi]) + rng.normal(0, 0.2)
    speed = rng.choice([0.0, rng.uniform(0.6, 1.8)], p=[0.25, 0.75])
    group = 1 + (rng.random() < 0.25)
    return [_make(rng, "pedestrian", x + 0.3 * i, y + 0.8 * i, heading, speed) for i in range(group)]


def _cycling(rng, begin, end, ego_speed, duration) -> list[Agent]:
    side = rng.choice([-1, 1])
    name = rng.choice(["bicycle", "motorcycle"], p=[0.75, 0.25])
    x, y = rng.uniform(begin, end), side * (KERB - 2.6 + rng.normal(0, 0.1))
    return [_make(rng, name, x, y, 0.0 if side < 0 else np.pi, rng.uniform(2, 7))]


def _works(rng, begin, end, ego_speed, duration) -> list[Agent]:
    side = rng.choice([-1, 1])
    x, y = rng.uniform(begin, end), side * (KERB - 0.9)
    name = rng.choice(["traffic_cone", "barrier"])
    step = 1.6 if name == "traffic_cone" else 2.6
    turn = 0.0 if name == "traffic_cone" else np.pi / 2
    site = [_make(rng, name, x + step * i, y + rng.normal(0, 0.08), turn + rng.normal(0, 0.05), 0.0) for i in range(4)]
    if rng.random() < 0.6:
        site.append(_make(rng, "construction_vehicle", x + 4, side * (KERB + 2.4), rng.uniform(-np.pi, np.pi), 0.0))
    return site


_PLACERS = {"parked": _parked, "driving": _driving, "walking": _walking, "cycling": _cycling, "works": _works}


def _collide(a: Agent, b: Agent, duration: float) -> bool:
    """Whether two agents come closer than their sizes allow, looked at twice a second."""
    times = np.arange(0, duration + 0.5, 0.5)[:, None]
    apart = np.abs((a.start - b.start) + times * (a.velocity - b.velocity))
    need_a, need_b = _extent(a), _extent(b)
    return bool((apart < (need_a + need_b) / 2 + 0.2).all(axis=1).any())


def _extent(agent: Agent) -> np.ndarray:
    """Sizes of the upright rectangle around an agent, along x and y [2]."""
    c, s = abs(np.cos(agent.heading)), abs(np.sin(agent.heading))
    length, width = agent.size[:2]
    return np.array([c * length + s * width, s * length + c * width])
