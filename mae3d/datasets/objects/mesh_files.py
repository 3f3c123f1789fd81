"""Wavefront OBJ and PLY: points, normals and triangles, read without further packages."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from mae3d.datasets.files import atomic_write, require_file
from mae3d.errors import DataError
from mae3d.structures.mesh import Mesh

HINT = "Export the file again."
# PLY type name -> numpy type, without byte order.
PLY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


def read_obj(path: Path) -> Mesh:
    """Mesh of an .obj file; polygons are cut into fans of triangles, other statements are passed over.

    Raises:
        DataError: A line is malformed, or a face names a vertex that does not exist.
    """
    vertices: list[list[float]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split()
        try:
            if words[:1] == ["v"]:
                vertices.append([float(word) for word in words[1:4]])
            elif words[:1] == ["f"]:
                # "v", "v/vt", "v//vn" or "v/vt/vn"; negative numbers count from the end.
                corners = [int(word.split("/", 1)[0]) for word in words[1:]]
                corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
                faces += [(corners[0], a, b) for a, b in pairwise(corners[1:])]
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {line.strip()!r} is malformed ({error}). {HINT}") from error
    if any(len(vertex) != 3 for vertex in vertices):
        raise DataError(f"{path}: a vertex has fewer than 3 coordinates. {HINT}")
    return _mesh(path, np.array(vertices, dtype=np.float64).reshape(-1, 3), np.array(faces).reshape(-1, 3))


def _text(path: Path) -> str:
    return require_file(path, HINT).read_text(encoding="utf-8", errors="replace")


def _mesh(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    try:
        return Mesh(vertices, faces.astype(np.int64))
    except DataError as error:
        raise DataError(f"{path}: {error}. {HINT}") from error


def write_ply(path: Path, points: np.ndarray) -> None:
    """Write points [N, 3] as the vertices of a binary .ply file, float32."""
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    with atomic_write(path) as file:
        file.write(header.encode() + np.ascontiguousarray(points, dtype="<f4").tobytes())


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertices and triangles of a .ply file (ascii or binary of either byte order).

    Returns:
        float32 [N, 3], or [N, 6] where the file has normals; int64 [F, 3], or None where it has no faces. Polygons are
        cut into fans.

    Raises:
        DataError: The header is unknown or the file too short.
    """
    content = require_file(path, HINT).read_bytes()
    end = content.find(b"end_header")
    if not content.startswith(b"ply") or end < 0:
        raise DataError(f"{path}: not a PLY file (no header). {HINT}")
    body = content.find(b"\n", end) + 1
    kind, elements = _ply_header(path, content[:end].decode("ascii", errors="replace"))
    try:
        values = (
            _ply_ascii(content[body:], elements) if kind == "ascii" else _ply_binary(content[body:], kind, elements)
        )
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: shorter than its header says, or malformed ({error}). {HINT}") from error
    vertex = values.get("vertex", {})
    missing = [axis for axis in "xyz" if axis not in vertex]
    if missing:
        raise DataError(f"{path}: vertices lack {', '.join(missing)}. {HINT}")
    names = ["x", "y", "z"] + (["nx", "ny", "nz"] if all(n in vertex for n in ("nx", "ny", "nz")) else [])
    points = np.stack([np.asarray(vertex[name], dtype=np.float32) for name in names], axis=1)
    lists = next((column for name, column in values.get("face", {}).items() if name.startswith("vertex_ind")), [])
    fans = [(ring[0], a, b) for ring in lists for a, b in pairwise(ring[1:])]
    return points, np.array(fans, dtype=np.int64) if fans else None


Element = tuple[str, int, list[tuple[str, str, str | None]]]
"""Name, count, and properties (name, type, type of the list's length or None)."""


def _ply_header(path: Path, header: str) -> tuple[str, list[Element]]:
    kind, elements = "", []
    for line in header.splitlines():
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            kind = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"] and elements:
            is_list = words[1] == "list"
            types = words[2:4] if is_list else words[1:2]
            if not set(types) <= set(PLY_TYPES):
                raise DataError(f"{path}: unknown PLY property {line!r}. {HINT}")
            elements[-1][2].append((words[-1], types[-1], types[0] if is_list else None))
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise DataError(f"{path}: unknown PLY format {kind!r}. {HINT}")
    return kind, elements


def _ply_ascii(body: bytes, elements: list[Element]) -> dict[str, dict[str, list]]:
    words = body.split()
    position, values = 0, {}
    for name, count, properties in elements:
        columns: dict[str, list] = {key: [] for key, _, _ in properties}
        for _ in range(count):
            for key, kind, length_kind in properties:
                number = float if kind[0] in "fd" else int
                if length_kind is None:
                    columns[key].append(number(words[position]))
                    position += 1
                    continue
                stop = position + 1 + int(words[position])
                columns[key].append([number(word) for word in words[position + 1 : stop]])
                position = stop
        values[name] = columns
    return values


def _ply_binary(body: bytes, kind: str, elements: list[Element]) -> dict[str, dict[str, list]]:
    order = "<" if kind == "binary_little_endian" else ">"
    position, values = 0, {}
    for name, count, properties in elements:
        if all(length_kind is None for _, _, length_kind in properties):
            row = np.dtype([(key, order + PLY_TYPES[type_name]) for key, type_name, _ in properties])
            table = np.frombuffer(body, row, count, position)
            position += count * row.itemsize
            values[name] = {key: table[key] for key in row.names or ()}
            continue
        columns: dict[str, list] = {key: [] for key, _, _ in properties}
        for _ in range(count):
            for key, type_name, length_kind in properties:
                length = 1
                if length_kind is not None:
                    length_type = np.dtype(order + PLY_TYPES[length_kind])
                    length = int(np.frombuffer(body, length_type, 1, position)[0])
                    position += length_type.itemsize
                item = np.dtype(order + PLY_TYPES[type_name])
                entries = np.frombuffer(body, item, length, position).tolist()
                position += length * item.itemsize
                columns[key].append(entries if length_kind is not None else entries[0])
        values[name] = columns
    return values
