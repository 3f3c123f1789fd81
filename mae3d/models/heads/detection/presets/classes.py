"""Names of the classes that detectors are trained for, by benchmark."""

KITTI_CLASSES = ("Car", "Pedestrian", "Cyclist")
WAYMO_CLASSES = ("Vehicle", "Pedestrian", "Cyclist")
ONCE_CLASSES = ("Car", "Bus", "Truck", "Pedestrian", "Cyclist")
NUSCENES_CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
NUSCENES_GROUPS = (
    ("car",),
    ("truck", "construction_vehicle"),
    ("bus", "trailer"),
    ("barrier",),
    ("motorcycle", "bicycle"),
    ("pedestrian", "traffic_cone"),
)
