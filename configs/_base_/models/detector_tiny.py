"""What the small detectors of simulated drives share: classes, pillars of 0.8 m on a street, CenterPoint's head."""

model = dict(
    classes=(
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
    ),
    point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0),
    pillar=0.8,
    in_channels=4,
    normalized=True,
    head=dict(
        velocity=True,
        shared_channels=32,
        loc_weight=1.0,
        score_threshold=0.03,
        suppression=dict(threshold=0.2, before=1000, after=100),
    ),
)
