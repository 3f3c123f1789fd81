"""Anchor boxes (length, width, height in metres) with the overlaps of their assignment, by benchmark."""

KITTI_ANCHORS = (
    {"size": (3.9, 1.6, 1.56), "bottom": -1.78, "label": "Car", "positive": 0.6, "negative": 0.45},
    {"size": (0.8, 0.6, 1.73), "bottom": -0.6, "label": "Pedestrian", "positive": 0.5, "negative": 0.35},
    {"size": (1.76, 0.6, 1.73), "bottom": -0.6, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
WAYMO_ANCHORS = (
    {"size": (4.7, 2.1, 1.7), "bottom": 0.0, "label": "Vehicle", "positive": 0.55, "negative": 0.4},
    {"size": (0.91, 0.86, 1.73), "bottom": 0.0, "label": "Pedestrian", "positive": 0.5, "negative": 0.35},
    {"size": (1.78, 0.84, 1.78), "bottom": 0.0, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
ONCE_ANCHORS = (
    {"size": (4.38, 1.87, 1.59), "bottom": -1.71, "label": "Car", "positive": 0.6, "negative": 0.45},
    {"size": (11.11, 2.88, 3.41), "bottom": -1.74, "label": "Bus", "positive": 0.55, "negative": 0.4},
    {"size": (7.52, 2.50, 2.62), "bottom": -1.55, "label": "Truck", "positive": 0.55, "negative": 0.4},
    {"size": (0.75, 0.76, 1.69), "bottom": -1.62, "label": "Pedestrian", "positive": 0.3, "negative": 0.15},
    {"size": (2.18, 0.79, 1.43), "bottom": -1.65, "label": "Cyclist", "positive": 0.5, "negative": 0.35},
)
NUSCENES_ANCHORS = tuple(
    {"size": size, "bottom": bottom, "positive": 0.6, "negative": 0.3}
    for size, bottom in (
        ((4.607, 1.950, 1.723), -1.800),
        ((6.738, 2.456, 2.730), -1.744),
        ((12.013, 2.874, 3.815), -1.685),
        ((1.685, 0.601, 1.272), -1.673),
        ((0.726, 0.663, 1.757), -1.618),
        ((0.404, 0.397, 1.062), -1.810),
        ((0.486, 2.490, 0.983), -1.764),
    )
)
"""Anchors of SST and Voxel-MAE on nuScenes; each may stand for any class."""
