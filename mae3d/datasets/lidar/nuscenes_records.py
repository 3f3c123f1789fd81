"""Reads the JSON tables of nuScenes, keeping of each what the lidar frames of some scenes need.

The tables of the whole set name 2.6 million files of twelve sensors; records of other sensors, and annotations of other
scenes, are dropped while a table is parsed, so that memory holds what is used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mae3d.datasets.files import require_file
from mae3d.datasets.lidar.nuscenes_tables import TABLES
from mae3d.errors import DataError

Record = dict[str, Any]
Table = dict[str, Record]
Keep = Callable[[Record], bool]


@dataclass(frozen=True)
class SceneRecords:
    """All that the frames of one scene are made of; tables by token.

    Attributes:
        name: Of the scene.
        samples: In order of time.
        key_data: Token of a sample -> its lidar record.
        sample_data: Lidar records, sweeps included.
        ego_pose: Of ``sample_data``.
        calibrated_sensor: Of all lidars.
        annotations: Token of a sample -> its annotations.
        sample_annotation: The same annotations by token.
        category: Token of an instance -> name of its category.
        attribute: Token -> name.
    """

    name: str
    samples: list[Record]
    key_data: Table
    sample_data: Table
    ego_pose: Table
    calibrated_sensor: Table
    annotations: dict[str, list[Record]]
    sample_annotation: Table
    category: dict[str, str]
    attribute: dict[str, str]


def load_scenes(folder: Path, names: Collection[str], split: str) -> list[SceneRecords]:
    """Records of the scenes ``names``, in order of their names.

    Args:
        folder: Version folder, such as ``v1.0-trainval``.
        names: Scenes of the split; those that are absent are left out.
        split: Its name, for messages.

    Raises:
        DataError: a missing or damaged table, one that refers to a record that is not there, or no scene at all.
    """
    if not folder.is_dir():
        there = sorted(p.name for p in folder.parent.glob("v1.0-*"))
        raise DataError(f"{folder}: no such folder; {folder.parent} holds the versions {there or 'none'}")
    for name in TABLES:
        require_file(folder / f"{name}.json", _HINT)
    scenes = sorted((s for s in _read(folder, "scene").values() if s["name"] in names), key=lambda s: s["name"])
    if not scenes:
        raise DataError(f"{folder}: none of the {len(names)} scenes of split '{split}' is in scene.json")
    lidars = {token for token, sensor in _read(folder, "sensor").items() if sensor["channel"] == "LIDAR_TOP"}
    calibrations = _read(folder, "calibrated_sensor", lambda r: r["sensor_token"] in lidars)
    wanted = {scene["token"]: scene["name"] for scene in scenes}
    samples = _read(folder, "sample", lambda r: r["scene_token"] in wanted)
    data = _read(
        folder,
        "sample_data",
        lambda r: r["calibrated_sensor_token"] in calibrations and r["sample_token"] in samples,
    )
    poses_needed = {record["ego_pose_token"] for record in data.values()}
    poses = _read(folder, "ego_pose", lambda r: r["token"] in poses_needed)
    annotations = _read(folder, "sample_annotation", lambda r: r["sample_token"] in samples)
    categories = _read(folder, "category")
    instances = _read(folder, "instance")
    attributes = {token: record["name"] for token, record in _read(folder, "attribute").items()}

    by_scene: dict[str, dict[str, Table]] = {token: defaultdict(dict) for token in wanted}
    for token, record in samples.items():
        by_scene[record["scene_token"]]["sample"][token] = record
    for table, records in (("sample_data", data), ("sample_annotation", annotations)):
        for token, record in records.items():
            by_scene[samples[record["sample_token"]]["scene_token"]][table][token] = record
    return [
        _scene(scene, by_scene[scene["token"]], poses, calibrations, instances, categories, attributes)
        for scene in scenes
    ]


def look_up(table: Table, name: str, token: str) -> Record:
    """A record by its token.

    Raises:
        DataError: it is not there.
    """
    try:
        return table[token]
    except KeyError:
        raise DataError(f"nuScenes: {name}.json has no record {token!r}, which another table refers to") from None


_HINT = "Unpack the metadata archive of nuScenes again."


def _read(folder: Path, name: str, keep: Keep | None = None) -> Table:
    """Records of a table by token, only those that ``keep`` likes."""
    path = folder / f"{name}.json"
    chosen = None if keep is None else lambda record: record if keep(record) else None
    try:
        records = json.loads(path.read_bytes(), object_hook=chosen)
        return {record["token"]: record for record in records if record is not None}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a table of records with a 'token' ({type(error).__name__}: {error})") from error


def _scene(
    scene: Record,
    own: dict[str, Table],
    poses: Table,
    calibrations: Table,
    instances: Table,
    categories: Table,
    attributes: dict[str, str],
) -> SceneRecords:
    samples, token = [], scene["first_sample_token"]
    while token:
        samples.append(look_up(own["sample"], "sample", token))
        token = samples[-1]["next"]
    annotations: dict[str, list[Record]] = defaultdict(list)
    for record in own["sample_annotation"].values():
        annotations[record["sample_token"]].append(record)
    named = {record["instance_token"] for record in own["sample_annotation"].values()}
    instance_of = {token: look_up(instances, "instance", token) for token in named}
    needed = {record["ego_pose_token"] for record in own["sample_data"].values()}
    return SceneRecords(
        name=scene["name"],
        samples=samples,
        key_data={r["sample_token"]: r for r in own["sample_data"].values() if r["is_key_frame"]},
        sample_data=own["sample_data"],
        ego_pose={token: look_up(poses, "ego_pose", token) for token in needed},
        calibrated_sensor=calibrations,
        annotations=dict(annotations),
        sample_annotation=own["sample_annotation"],
        category={
            token: look_up(categories, "category", record["category_token"])["name"]
            for token, record in instance_of.items()
        },
        attribute=attributes,
    )
