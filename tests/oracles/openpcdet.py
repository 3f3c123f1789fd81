"""Names and shapes of OpenPCDet's detectors, written down from how its modules nest."""

from tests.oracles.r_mae import official_state


def detector(kind, in_channels):
    """ "second" (KITTI, 3 classes) or "centerpoint" (nuScenes, 6 heads): name -> shape of every tensor of a file."""
    encoder = official_state("plain" if kind == "second" else "residual", in_channels)
    shapes = {name: tuple(value.shape) for name, value in encoder.items() if ".deconv" not in name}

    def norm(name, channels):
        shapes[f"{name}.num_batches_tracked"] = ()
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})

    def conv(name, outputs, inputs, size, bias):
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    for name, shape in list(shapes.items()):
        if name.endswith((".conv1.weight", ".conv2.weight")):  # residual blocks alone have biases
            shapes[name.removesuffix("weight") + "bias"] = shape[:1]
    for level, (inputs, width) in enumerate(((256, 128), (128, 256))):
        for layer in range(6):  # padding comes first; then convolution, norm, activation
            place = 1 + 3 * layer
            conv(f"backbone_2d.blocks.{level}.{place}", width, width if layer else inputs, 3, bias=False)
            norm(f"backbone_2d.blocks.{level}.{place + 1}", width)
        shapes[f"backbone_2d.deblocks.{level}.0.weight"] = (width, 256, 2**level, 2**level)  # transposed: inputs first
        norm(f"backbone_2d.deblocks.{level}.1", 256)
    if kind == "second":
        anchors, classes = 6, 3
        for name, outputs in (("cls", classes), ("box", 7), ("dir_cls", 2)):
            conv(f"dense_head.conv_{name}", anchors * outputs, 512, 1, bias=True)
        return shapes
    conv("dense_head.shared_conv.0", 64, 512, 3, bias=True)
    norm("dense_head.shared_conv.1", 64)
    for head, classes in enumerate((1, 2, 2, 1, 2, 2)):
        for name, outputs in {"center": 2, "center_z": 1, "dim": 3, "rot": 2, "vel": 2, "hm": classes}.items():
            place = f"dense_head.heads_list.{head}.{name}"
            conv(f"{place}.0.0", 64, 64, 3, bias=True)
            norm(f"{place}.0.1", 64)
            conv(f"{place}.1", outputs, 64, 3, bias=True)
    return shapes
