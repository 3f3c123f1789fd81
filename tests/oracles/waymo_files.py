"""Writes segments of Waymo with the reference protobuf runtime and TensorBoard's record writer, from the published
``dataset.proto`` and ``label.proto``; points are worked out pixel by pixel."""

import zlib

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from scipy.spatial.transform import Rotation
from tensorboard.summary.writer.record_writer import RecordWriter

DOUBLE, FLOAT, INT64, INT32, STRING, MESSAGE, BYTES = 1, 2, 3, 5, 9, 11, 12
ONE, MANY = 1, 3

# message -> (name, number, label, type, message type or None, packed)
SCHEMA = {
    "MatrixShape": [("dims", 1, MANY, INT32)],
    "MatrixFloat": [("data", 1, MANY, FLOAT, None, True), ("shape", 2, ONE, MESSAGE, "MatrixShape")],
    "Transform": [("transform", 1, MANY, DOUBLE)],
    "LaserCalibration": [
        ("name", 1, ONE, INT32),
        ("beam_inclinations", 2, MANY, DOUBLE),
        ("beam_inclination_min", 3, ONE, DOUBLE),
        ("beam_inclination_max", 4, ONE, DOUBLE),
        ("extrinsic", 5, ONE, MESSAGE, "Transform"),
    ],
    "Context": [("name", 1, ONE, STRING), ("laser_calibrations", 3, MANY, MESSAGE, "LaserCalibration")],
    "RangeImage": [("range_image_compressed", 2, ONE, BYTES), ("range_image_pose_compressed", 4, ONE, BYTES)],
    "Laser": [
        ("name", 1, ONE, INT32),
        ("ri_return1", 2, ONE, MESSAGE, "RangeImage"),
        ("ri_return2", 3, ONE, MESSAGE, "RangeImage"),
    ],
    "Box": [
        ("center_x", 1, ONE, DOUBLE),
        ("center_y", 2, ONE, DOUBLE),
        ("center_z", 3, ONE, DOUBLE),
        ("width", 4, ONE, DOUBLE),
        ("length", 5, ONE, DOUBLE),
        ("height", 6, ONE, DOUBLE),
        ("heading", 7, ONE, DOUBLE),
    ],
    "Metadata": [("speed_x", 1, ONE, DOUBLE), ("speed_y", 2, ONE, DOUBLE)],
    "Label": [
        ("box", 1, ONE, MESSAGE, "Box"),
        ("metadata", 2, ONE, MESSAGE, "Metadata"),
        ("type", 3, ONE, INT32),
        ("id", 4, ONE, STRING),
        ("detection_difficulty_level", 5, ONE, INT32),
        ("num_lidar_points_in_box", 7, ONE, INT32),
    ],
    "Frame": [
        ("context", 1, ONE, MESSAGE, "Context"),
        ("timestamp_micros", 2, ONE, INT64),
        ("pose", 3, ONE, MESSAGE, "Transform"),
        ("lasers", 5, MANY, MESSAGE, "Laser"),
        ("laser_labels", 6, MANY, MESSAGE, "Label"),
    ],
    "Object": [
        ("object", 1, ONE, MESSAGE, "Label"),
        ("score", 2, ONE, FLOAT),
        ("context_name", 4, ONE, STRING),
        ("frame_timestamp_micros", 5, ONE, INT64),
    ],
    "Objects": [("objects", 1, MANY, MESSAGE, "Object")],
}


def _classes():
    file = descriptor_pb2.FileDescriptorProto(name="waymo_test.proto", package="waymo_test", syntax="proto2")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for own, number, label, kind, *rest in fields:
            field = message.field.add(name=own, number=number, label=label, type=kind)
            if rest and rest[0]:
                field.type_name = f".waymo_test.{rest[0]}"
            if len(rest) > 1:
                field.options.packed = rest[1]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"waymo_test.{n}")) for n in SCHEMA}


PROTO = _classes()


def _matrix(values):
    message = PROTO["MatrixFloat"](data=values.astype(np.float32).ravel().tolist())
    message.shape.dims.extend(values.shape)
    return zlib.compress(message.SerializeToString())


def make_frame(rng, number, height=6, width=20):
    """A frame with a top lidar (per-pixel poses, uneven beams) and a front lidar (even beams); its points and pose."""
    frame = PROTO["Frame"](timestamp_micros=1_550_000_000_000_000 + 100_000 * number)
    frame.context.name = "10_20_30"
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zyx", [0.7, 0.02, -0.01]).as_matrix()
    pose[:3, 3] = [-2000 + number, 900.5, 12.0]
    frame.pose.transform.extend(pose.ravel())
    expected = []
    for name in (2, 1):  # not in order of the names
        mount = np.eye(4)
        mount[:3, :3] = Rotation.from_euler("zyx", [0.3 * name, 0.01, 0.02]).as_matrix()
        mount[:3, 3] = [1.4, 0.1 * name, 2.1]
        calibration = frame.context.laser_calibrations.add(name=name)
        calibration.extrinsic.transform.extend(mount.ravel())
        beams = np.sort(rng.uniform(-0.3, 0.04, height))
        if name == 1:
            calibration.beam_inclinations.extend(beams)
        else:
            calibration.beam_inclination_min, calibration.beam_inclination_max = -1.5, 0.5
            beams = -1.5 + 2.0 * (np.arange(height) + 0.5) / height
        laser = frame.lasers.add(name=name)
        angles = rng.normal((-0.01, 0.02, 0.7), 0.01, (height, width, 3))
        places = rng.normal(0, 0.3, (height, width, 3)) + pose[:3, 3]
        if name == 1:
            packed = _matrix(np.concatenate((angles, places), axis=-1))
            laser.ri_return1.range_image_pose_compressed = packed
            angles, places = angles.astype(np.float32), places.astype(np.float32)
        clouds = []
        for share, echo in ((0.7, laser.ri_return1), (0.2, laser.ri_return2)):
            image = rng.uniform(0.01, 1, (height, width, 4)).astype(np.float32)
            image[..., 0] = rng.uniform(2, 70, (height, width))
            image[..., 3] = rng.choice([-1, 1], (height, width))
            image[rng.random((height, width)) > share] = -1
            echo.range_image_compressed = _matrix(image)
            rows = []
            for row, column in np.argwhere(image[..., 0] > 0):
                azimuth = ((width - column - 0.5) / width * 2 - 1) * np.pi - np.arctan2(mount[1, 0], mount[0, 0])
                beam, reach = beams[height - 1 - row], image[row, column, 0]
                x = reach * np.cos(beam) * np.cos(azimuth)
                y = reach * np.cos(beam) * np.sin(azimuth)
                point = mount[:3, :3] @ [x, y, reach * np.sin(beam)] + mount[:3, 3]
                if name == 1:
                    roll, pitch, yaw = angles[row, column]
                    world = Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix() @ point + places[row, column]
                    point = np.linalg.inv(pose[:3, :3]) @ (world - pose[:3, 3])
                rows.append([*point, *image[row, column, 1:]])
            clouds.append(np.array(rows).reshape(-1, 6))
        expected.append((name, np.concatenate(clouds), len(clouds[0])))
    for kind, level, points in ((1, 0, 40), (2, 2, 3), (0, 1, 9), (4, 1, 0)):
        label = frame.laser_labels.add(type=kind, id=f"object-{kind}", num_lidar_points_in_box=points)
        if level:
            label.detection_difficulty_level = level
        sizes = rng.uniform(0.5, 4, 3)
        for field, value in zip(("length", "width", "height"), sizes):
            setattr(label.box, field, value)
        label.box.center_x, label.box.center_y, label.box.center_z = rng.uniform(-20, 20, 3)
        label.box.heading = rng.uniform(-3, 3)
        label.metadata.speed_x, label.metadata.speed_y = rng.uniform(-5, 5, 2)
    return frame, sorted(expected, key=lambda entry: entry[0]), pose


def write_segment(path, frames):
    """A TFRecord file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for frame in frames:
            writer.write(frame.SerializeToString())
        writer.flush()
