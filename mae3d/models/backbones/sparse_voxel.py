"""The two sparse 3D encoders of voxel detectors: stride 8 from above, height folded into two slabs.

Source: SECOND (Yan et al. 2018) in the form of OpenPCDet (``VoxelBackBone8x``, ``VoxelResBackBone8x``); R-MAE
pre-trains the same networks. Names and shapes of tensors are OpenPCDet's with spconv 2, so ``backbone_3d.*`` of its
files loads as it is.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from torch import Tensor, nn

from mae3d.models.layers.sparse_conv import SparseConv3d, SubMConv3d
from mae3d.models.layers.sparse_sequential import SparseBatchNorm, SparseSequential
from mae3d.registry import MODELS
from mae3d.structures.sparse_tensor import SparseTensor
from mae3d.structures.voxels import Voxels

STRIDES = {"x_conv1": 1, "x_conv2": 2, "x_conv3": 4, "x_conv4": 8}
"""Stage -> cells of the input grid along one side of a cell of the stage."""

_norm = partial(SparseBatchNorm, eps=1e-3, momentum=0.01)


def sparse_input(voxels: Voxels) -> SparseTensor:
    """Voxels as a sparse tensor on a grid one cell higher than theirs.

    The extra layer on top is OpenPCDet's: 41 cells become 21, 11, 5 and 2, where 40 would lose the last slab.
    """
    x, y, z = voxels.grid.grid_size
    coordinates = voxels.coordinates.int()
    return SparseTensor(voxels.features, coordinates, (z + 1, y, x), voxels.batch_size, trusted=True)


def fold_height(sparse: SparseTensor) -> Tensor:
    """Dense bird's-eye map [B, C * z, y, x]; channel ``c * z + k`` is channel c of slab k."""
    return sparse.dense().flatten(1, 2)


def _conv(layer: type[nn.Module], inputs: int, outputs: int, key: str, **options: object) -> SparseSequential:
    conv = layer(inputs, outputs, options.pop("kernel_size", 3), bias=False, indice_key=key, **options)
    return SparseSequential(conv, _norm(outputs), nn.ReLU())


class SparseBasicBlock(nn.Module):
    """Two submanifold convolutions with a skip connection.

    Args:
        channels: In and out.
        indice_key: Of both convolutions.
        bias: Of both convolutions; OpenPCDet has it unless its config says USE_BIAS False.
    """

    takes_sparse_tensor = True

    def __init__(self, channels: int, indice_key: str, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = SubMConv3d(channels, channels, 3, bias=bias, indice_key=indice_key)
        self.bn1 = _norm(channels)
        self.relu = nn.ReLU()
        self.conv2 = SubMConv3d(channels, channels, 3, bias=bias, indice_key=indice_key)
        self.bn2 = _norm(channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Same cells, same channels."""
        hidden = self.conv1(x)
        hidden = self.conv2(hidden.replace_features(self.relu(self.bn1(hidden.features))))
        return hidden.replace_features(self.relu(self.bn2(hidden.features) + x.features))


class _SparseEncoder(nn.Module):
    """Stages ``conv_input``, ``conv1`` to ``conv4``, ``conv_out``; see the two classes below."""

    widths = (16, 16, 32, 64, 64)
    out_channels = 128

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        first, *widths = self.widths
        self.conv_input = _conv(SubMConv3d, in_channels, first, "subm1")
        self.conv1 = self._first(widths[0])
        self.conv2 = self._stage(widths[0], widths[1], 2, 1)
        self.conv3 = self._stage(widths[1], widths[2], 3, 1)
        self.conv4 = self._stage(widths[2], widths[3], 4, (0, 1, 1))
        self.conv_out = _conv(
            SparseConv3d, widths[3], self.out_channels, "spconv_down2", kernel_size=(3, 1, 1), stride=(2, 1, 1)
        )

    @abstractmethod
    def _first(self, width: int) -> SparseSequential:
        """First stage."""

    @abstractmethod
    def _stage(self, inputs: int, outputs: int, number: int, padding: object) -> SparseSequential:
        """A stage that halves the grid."""

    def stages(self, x: SparseTensor | Voxels) -> dict[str, SparseTensor]:
        """Output of each stage: ``x_conv1`` to ``x_conv4`` (see :data:`STRIDES`) and ``out``."""
        x = sparse_input(x) if isinstance(x, Voxels) else x
        x = self.conv_input(x)
        outputs = {}
        for name in ("conv1", "conv2", "conv3", "conv4"):
            x = outputs[f"x_{name}"] = getattr(self, name)(x)
        return {**outputs, "out": self.conv_out(x)}

    def forward(self, x: SparseTensor | Voxels) -> SparseTensor:
        """Encode occupied cells.

        Args:
            x: Voxels with features, or a sparse tensor on (z, y, x).

        Returns:
            ``out_channels`` channels, y and x divided by 8, z 41 -> 2; see :func:`fold_height`.
        """
        return self.stages(x)["out"]

    def bev_channels(self, grid_z: int) -> int:
        """Channels of the folded map for a grid of ``grid_z`` cells in height."""
        height = grid_z + 1
        for padding in (1, 1, 0):
            height = (height + 2 * padding - 3) // 2 + 1
        return self.out_channels * ((height - 3) // 2 + 1)


@MODELS.register_module()
class VoxelBackBone8x(_SparseEncoder):
    """Plain encoder of SECOND, PV-RCNN and R-MAE: 16, 32, 64, 64 channels, then 128.

    Args:
        in_channels: Features of a voxel.
    """

    def _first(self, width: int) -> SparseSequential:
        return SparseSequential(_conv(SubMConv3d, self.widths[0], width, "subm1"))

    def _stage(self, inputs: int, outputs: int, number: int, padding: object) -> SparseSequential:
        down = _conv(SparseConv3d, inputs, outputs, f"spconv{number}", stride=2, padding=padding)
        rest = [_conv(SubMConv3d, outputs, outputs, f"subm{number}") for _ in range(2)]
        return SparseSequential(down, *rest)


@MODELS.register_module()
class VoxelResBackBone8x(_SparseEncoder):
    """Residual encoder of CenterPoint and its kin: 16, 32, 64, 128 channels, then 128.

    Args:
        in_channels: Features of a voxel.
        bias: Of the convolutions in residual blocks. R-MAE pre-trains without; a detector with ``bias=True`` starts
            those sixteen vectors anew, as OpenPCDet does.
    """

    widths = (16, 16, 32, 64, 128)

    def __init__(self, in_channels: int, bias: bool = True) -> None:
        self.bias = bias
        super().__init__(in_channels)

    def _first(self, width: int) -> SparseSequential:
        return SparseSequential(*(SparseBasicBlock(width, "res1", self.bias) for _ in range(2)))

    def _stage(self, inputs: int, outputs: int, number: int, padding: object) -> SparseSequential:
        down = _conv(SparseConv3d, inputs, outputs, f"spconv{number}", stride=2, padding=padding)
        return SparseSequential(down, *(SparseBasicBlock(outputs, f"res{number}", self.bias) for _ in range(2)))
