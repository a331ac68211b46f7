"""NRRD and NIfTI files of three dimensions, opened for reading in pieces with the standard library and numpy.

What is read are the files that `ctrestoration` itself writes: NRRD raw or gzip with the data inside, NIfTI-1 single
files. Anything else is refused with a sentence.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ctrestoration.errors import InputError
from ctrestoration.volume import Grid

READ_BYTES = 256 << 10
_NRRD_TYPES = {
    "int8": "i1", "signed char": "i1", "uchar": "u1", "uint8": "u1", "unsigned char": "u1", "short": "i2",
    "int16": "i2", "ushort": "u2", "uint16": "u2", "unsigned short": "u2", "int": "i4", "int32": "i4", "uint": "u4",
    "uint32": "u4", "unsigned int": "u4", "int64": "i8", "uint64": "u8", "float": "f4", "double": "f8",
}  # fmt: skip
_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


@dataclass
class Stored:
    """An image file that is being read.

    Attributes:
        grid: where the voxels lie, LPS mm.
        dtype: the stored type, with its byte order.
        facts: the file's own key-value pairs.
        slope: factor of the stored values.
        offset: added to them.
    """

    grid: Grid
    dtype: np.dtype[Any]
    facts: dict[str, str] = field(default_factory=dict)
    slope: float = 1.0
    offset: float = 0.0
    _source: _Source | None = None

    @property
    def packed(self) -> bool:
        """Whether the voxels are compressed."""
        return self._source is not None and self._source.packed

    def take(self, count: int) -> bytes:
        """The next bytes of the voxels.

        Raises:
            InputError: the file ends before.
        """
        assert self._source is not None  # noqa: S101 - see openedImage
        return self._source.take(count)

    def scaled(self, values: Any) -> Any:
        """Stored values as the file means them."""
        return values if (self.slope, self.offset) == (1.0, 0.0) else values * self.slope + self.offset


class _Source:
    """Bytes of a file, unpacked where they are packed."""

    def __init__(self, file: IO[bytes], path: Path, packed: bool) -> None:
        self._file, self._path = file, path
        self._unpacker = zlib.decompressobj(31) if packed else None
        self._buffer = bytearray()

    @property
    def packed(self) -> bool:
        return self._unpacker is not None

    def take(self, count: int) -> bytes:
        if self._unpacker is None:
            data = self._file.read(count)
            return data if len(data) == count else self._refuse()
        while len(self._buffer) < count:
            piece = self._unpacker.unconsumed_tail or self._file.read(READ_BYTES)
            if not piece:
                self._refuse()
            try:
                self._buffer += self._unpacker.decompress(piece, count - len(self._buffer))
            except zlib.error as error:
                raise InputError(f"{self._path} is damaged: {error}.") from error
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def line(self) -> str:
        """The next line of an unpacked header."""
        data = self._file.readline(1 << 16)
        if not data.endswith(b"\n"):
            self._refuse()
        return data.decode("utf-8", errors="replace").rstrip("\r\n")

    def unpack(self) -> None:
        """What follows is packed."""
        self._unpacker = zlib.decompressobj(31)

    def _refuse(self) -> bytes:
        raise InputError(f"{self._path} is cut off.")


@contextlib.contextmanager
def openedImage(path: Path) -> Iterator[Stored]:
    """The header of an image file, and its voxels to be taken within the block.

    Raises:
        InputError: not there, or of a kind that is not read here.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            if name.endswith((".nii", ".nii.gz")):
                source = _Source(file, path, name.endswith(".gz"))
                stored = _nifti(source, path)
            elif name.endswith(".nrrd"):
                source = _Source(file, path, False)
                stored = _nrrd(source, path)
            else:
                raise InputError(f"{path} is not read here: expected .nrrd, .nii or .nii.gz.")
            stored._source = source
            yield stored
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _nrrd(source: _Source, path: Path) -> Stored:
    fields, facts = _nrrdHeader(source, path)
    try:
        sizes = [int(text) for text in fields["sizes"].split()]
        if len(sizes) != 3 or fields["dimension"] != "3":
            raise InputError(f"{path} is no image of three dimensions with one value a voxel.")
        affine = np.eye(4)
        vectors = [_vector(text) for text in fields["space directions"].replace(") (", ")|(").split("|")]
        affine[:3, :3] = np.array(vectors).T
        affine[:3, 3] = _vector(fields["space origin"])
        dtype = np.dtype(_NRRD_TYPES[fields["type"]]).newbyteorder(">" if fields.get("endian") == "big" else "<")
        space, encoding = fields["space"].lower(), fields["encoding"].lower()
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} has a header that is not understood: {error}.") from error
    if space in ("right-anterior-superior", "ras"):
        affine[:2] *= -1
    elif space not in ("left-posterior-superior", "lps"):
        raise InputError(f"{path} lies in the space {space!r}; expected left-posterior-superior.")
    if encoding in ("gzip", "gz"):
        source.unpack()
    elif encoding != "raw":
        raise InputError(f"{path} is stored as {encoding!r}; expected raw or gzip.")
    if "data file" in fields:
        raise InputError(f"{path} keeps its voxels in another file; expected them inside.")
    return Stored(Grid((sizes[2], sizes[1], sizes[0]), affine), dtype, facts)


def _nrrdHeader(source: _Source, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not source.line().startswith("NRRD"):
        raise InputError(f"{path} is no NRRD file.")
    fields: dict[str, str] = {}
    facts: dict[str, str] = {}
    while line := source.line():
        if line.startswith("#"):
            continue
        key, is_fact, text = line.partition(":=")
        if is_fact:
            facts[key] = text.replace("\\n", "\n").replace("\\\\", "\\")
        else:
            key, _, text = line.partition(":")
            fields[key.strip().lower()] = text.strip()
    return fields, facts


def _vector(text: str) -> list[float]:
    return [float(part) for part in text.strip().strip("()").split(",")]


def _nifti(source: _Source, path: Path) -> Stored:
    header = source.take(348)
    order = "<" if struct.unpack("<i", header[:4])[0] == 348 else ">"

    def numbers(form: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + form, header, at)

    dimensions = numbers("8h", 40)
    kind, start = numbers("h", 70)[0], int(numbers("f", 108)[0])
    known = numbers("i", 0)[0] == 348 and header[344:347] == b"n+1" and kind in _NIFTI_TYPES
    if not known or dimensions[0] < 3 or any(count > 1 for count in dimensions[4 : dimensions[0] + 1]):
        raise InputError(f"{path} is no NIfTI-1 image of three dimensions with one value a voxel.")
    if numbers("h", 254)[0] <= 0:
        raise InputError(f"{path} does not say where its voxels lie (no sform).")
    affine = np.eye(4)
    affine[:3] = np.array(numbers("12f", 280), dtype=np.float64).reshape(3, 4)
    affine[:2] *= -1  # NIfTI's world is RAS
    slope, offset = numbers("2f", 112)
    source.take(start - 348)
    grid = Grid((dimensions[3], dimensions[2], dimensions[1]), affine)
    scale = (float(slope), float(offset)) if slope else (1.0, 0.0)
    return Stored(grid, np.dtype(order + _NIFTI_TYPES[kind]), {}, *scale)
