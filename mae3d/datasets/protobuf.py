"""The wire format of protocol buffers, as far as the Waymo files need it: no schema compiler, no TensorFlow.

A message is a run of fields. Each begins with a key, ``number << 3 | kind``, kinds: 0 a varint, 1 eight bytes, 2 a
length and that many bytes (text, sub-message, packed numbers), 5 four bytes. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
Field = int | memoryview


class WireError(ValueError):
    """The bytes are no message; whoever knows the file's name tells it."""


class Message:
    """Fields of one message by number; sub-messages stay bytes until asked for.

    Args:
        data: The bytes of the message.

    Raises:
        WireError: a field that runs past the end, or of an unknown kind.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.fields: dict[int, list[Field]] = defaultdict(list)
        view, place = memoryview(data), 0
        while place < len(view):
            key, place = _varint(view, place)
            kind = key & 7
            if kind == VARINT:
                value, place = _varint(view, place)
            elif kind in (EIGHT_BYTES, FOUR_BYTES, LENGTH):
                size = {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(kind)
                if size is None:
                    size, place = _varint(view, place)
                if place + size > len(view):
                    raise WireError(f"field {key >> 3} needs {size} bytes at byte {place} of {len(view)}")
                value, place = view[place : place + size], place + size
            else:
                raise WireError(f"field {key >> 3} is of unknown kind {kind} at byte {place} of {len(view)}")
            self.fields[key >> 3].append(value)

    def messages(self, number: int) -> list[Message]:
        """All sub-messages of a field."""
        return [Message(self._bytes(value, number)) for value in self.fields.get(number, ())]

    def message(self, number: int) -> Message:
        """The last sub-message of a field; an empty one where it is absent."""
        return (self.messages(number) or [Message(b"")])[-1]

    def integer(self, number: int, default: int = 0) -> int:
        """An integer, as two's complement of 64 bits."""
        value = self._last(number, default)
        if not isinstance(value, int):
            raise WireError(f"field {number} is no integer")
        return value - (1 << 64) if value >= 1 << 63 else value

    def double(self, number: int, default: float = 0.0) -> float:
        """A number of eight bytes."""
        value = self._last(number, None)
        return default if value is None else float(struct.unpack("<d", self._bytes(value, number))[0])

    def text(self, number: int) -> str:
        """Text; empty where it is absent."""
        return bytes(self._last(number, b"")).decode("utf-8", errors="replace")

    def raw(self, number: int) -> bytes | memoryview:
        """Bytes; none where the field is absent."""
        return self._bytes(self._last(number, b""), number)

    def numbers(self, number: int, dtype: str) -> np.ndarray:
        """Repeated numbers of a fixed width (``"<f8"``, ``"<f4"``), packed or one by one."""
        parts = [np.frombuffer(self._bytes(value, number), dtype=dtype) for value in self.fields.get(number, ())]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)

    def integers(self, number: int) -> list[int]:
        """Repeated integers, packed or one by one."""
        found = []
        for value in self.fields.get(number, ()):
            if isinstance(value, int):
                found.append(value)
                continue
            place = 0
            while place < len(value):
                one, place = _varint(value, place)
                found.append(one)
        return found

    def _last(self, number: int, default: object) -> object:
        return self.fields[number][-1] if number in self.fields else default

    @staticmethod
    def _bytes(value: object, number: int) -> bytes | memoryview:
        if isinstance(value, int):
            raise WireError(f"field {number} is an integer, expected bytes")
        return value


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if place >= len(view) or shift > 63:
            raise WireError(f"a number does not end at byte {place} of {len(view)}")
        byte = view[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def varint(value: int) -> bytes:
    """An integer in seven-bit groups; negative ones as two's complement of 64 bits."""
    value &= (1 << 64) - 1
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def encode(fields: Sequence[tuple[int, int | float | str | bytes]]) -> bytes:
    """A message from (number, value) in order: int as varint, float as eight bytes, the rest with its length."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3 | VARINT) + varint(value))
        elif isinstance(value, float):
            parts.append(varint(number << 3 | EIGHT_BYTES) + struct.pack("<d", value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | LENGTH) + varint(len(data)) + data)
    return b"".join(parts)


def encode_float(number: int, value: float) -> bytes:
    """One field of four bytes."""
    return varint(number << 3 | FOUR_BYTES) + struct.pack("<f", value)
