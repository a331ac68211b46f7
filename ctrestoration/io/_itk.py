"""SimpleITK at arm's length: its images become arrays and grids here, its errors one sentence."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctrestoration.errors import InputError, MissingDependencyError, OutputError
from ctrestoration.files import atomic, check_writable, not_taken
from ctrestoration.io import _nifti
from ctrestoration.volume import Grid

if TYPE_CHECKING:
    import SimpleITK

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii.gz", ".nii", ".mha")


@dataclass(frozen=True)
class StoredImage:
    """What a file holds, before anything is made of it.

    Attributes:
        array: [z, y, x] or, where `layers` > 1, [z, y, x, layer]; the stored type.
        grid: where the voxels lie.
        layers: values per voxel.
        metadata: the file's own key-value pairs.
    """

    array: NDArray[Any]
    grid: Grid
    layers: int = 1
    metadata: dict[str, str] = field(default_factory=dict)


def simpleitk() -> Any:
    """The SimpleITK module.

    Raises:
        MissingDependencyError: where it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise MissingDependencyError("SimpleITK", "imaging", "Reading and writing images") from error
    return SimpleITK


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """ITK prints warnings of its own to the terminal; what matters in them is checked and said here instead."""
    process = simpleitk().ProcessObject
    shown = process.GetGlobalWarningDisplay()
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalWarningDisplay(shown)


@contextlib.contextmanager
def _rounded_axes() -> Iterator[None]:
    """Let ITK read a NIfTI affine whose 32-bit numbers are a little off right angles; true shear is refused before."""
    name = "ITK_NIFTI_SFORM_PERMISSIVE"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def image_suffix(path: Path) -> str:
    """The suffix that decides the format, lower case, ".nii.gz" as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def read_image(path: Path, *, frame: int | None = None) -> StoredImage:
    """Read an image file of three dimensions, or one frame of a file of four.

    Args:
        path: an existing file.
        frame: which frame of a four-dimensional image, from 0.

    Raises:
        InputError: not an image, cut off, two-dimensional, or four-dimensional without `frame`.
    """
    if nifti := image_suffix(path) in _nifti.SUFFIXES:
        _nifti.require_sound(path)
    with quiet(), _rounded_axes():
        reader = _opened(path)
        size, layers = reader.GetSize(), reader.GetNumberOfComponents()
        _require_dimensions(path, size, frame)
        image = _execute(reader, path)
    if len(size) == 4:
        image = _frame(image, 0 if frame is None else frame)
    metadata = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    array = simpleitk().GetArrayFromImage(image)
    if nifti and layers == 1:
        _nifti.restore_not_finite(path, array, frame or 0)
    return StoredImage(array, grid_of(image), layers, metadata)


def grid_of(image: SimpleITK.Image) -> Grid:
    """The grid of a three-dimensional SimpleITK image."""
    direction = np.asarray(image.GetDirection(), dtype=float).reshape(3, 3)
    x, y, z = image.GetSize()
    return Grid.from_parts((z, y, x), image.GetSpacing(), image.GetOrigin(), direction)


def check_output(path: str | Path) -> Path:
    """Refuse the path of an output image before long work rather than after it.

    Raises:
        InputError: where the suffix is none that can be written.
        OutputError: where the path is a folder, or its folder cannot be written.
    """
    path = Path(path)
    if image_suffix(path) not in WRITABLE:
        raise InputError(f"Cannot write {path}: the name of an image must end in {', '.join(WRITABLE)}.")
    check_writable(path)
    return path


def write_image(array: NDArray[Any], grid: Grid, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write [z, y, x] on its grid; the file is complete or not there at all.

    Raises:
        InputError: suffix that cannot be written, or a sheared grid.
        OutputError: where the file cannot be written.
    """
    path = check_output(path)
    sitk = simpleitk()
    axes = grid.direction
    if np.abs(axes.T @ axes - np.eye(3)).max() > _nifti.SHEAR_TOLERANCE:
        raise InputError(f"Cannot write {path}: its voxel axes are not at right angles, which image files cannot hold.")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(axes.ravel())
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)
    with atomic(path) as part, quiet():
        try:
            sitk.WriteImage(image, str(part), useCompression=image_suffix(path) != ".nii", compressionLevel=2)
        except RuntimeError as error:
            raise OutputError(f"Cannot write {path}: {reason(error)}.") from error
        if not _is_whole(part, array.nbytes):
            raise not_taken(path)


def _is_whole(part: Path, voxel_bytes: int) -> bool:
    """Whether the end of a file just written is there: on a full disk ITK may end without an error."""
    if image_suffix(part) in _nifti.SUFFIXES:
        return _nifti.is_whole(part, voxel_bytes)
    size = part.stat().st_size if part.exists() else 0
    with contextlib.suppress(OSError, ValueError, struct.error), part.open("rb") as stream:
        if image_suffix(part) == ".nrrd":  # ends with a gzip stream, and that with its unpacked size modulo 2**32
            stream.seek(-4, os.SEEK_END)
            return bool(struct.unpack("<I", stream.read(4))[0] == voxel_bytes % 2**32)
        expected = voxel_bytes
        for line in iter(stream.readline, b""):
            if line.startswith(b"CompressedDataSize"):
                expected = int(line.partition(b"=")[2])
            elif line.startswith(b"ElementDataFile"):
                return size - stream.tell() >= expected
    return False


def reason(error: Exception) -> str:
    """The last sentence of an ITK error, which is the one that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("Reason:").removeprefix("sitk::ERROR:").strip().rstrip(".") if lines else "unknown"


def _opened(path: Path) -> Any:
    reader = simpleitk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "Unable to determine ImageIO" in str(error):
            raise InputError(
                f"{path} is not a medical image that can be read: give a DICOM folder or a file ending in "
                f"{', '.join(READABLE)}."
            ) from error
        raise InputError(f"{path} cannot be read: {reason(error)}.") from error
    return reader


def _execute(reader: Any, path: Path) -> SimpleITK.Image:
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path} is damaged or cut off: {_damage(error)}.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory: crop or resample it first.") from error


def _damage(error: Exception) -> str:
    text = reason(error)
    return (
        text.split("]", 1)[-1].split(":", 1)[-1].strip() if text.startswith("[nrrd]") else "its voxels cannot be read"
    )


def _require_dimensions(path: Path, size: tuple[int, ...], frame: int | None) -> None:
    if len(size) == 2:
        raise InputError(
            f"{path} is a 2D image ({size[0]}x{size[1]}): give a CT volume; one slice is enough if it is stored as a "
            "3D image or as DICOM."
        )
    if len(size) > 4:
        raise InputError(f"{path} has {len(size)} dimensions: give a CT volume of three.")
    if len(size) == 4 and size[3] > 1 and frame is None:
        raise InputError(f"{path} holds {size[3]} volumes (4D): choose one with --frame 0 to --frame {size[3] - 1}.")
    last = size[3] - 1 if len(size) == 4 else 0
    if frame is not None and not 0 <= frame <= last:
        raise InputError(f"{path} has no frame {frame}: choose one from 0 to {last}.")


def _frame(image: SimpleITK.Image, frame: int) -> SimpleITK.Image:
    size = [*image.GetSize()[:3], 0]
    return simpleitk().Extract(image, size, [0, 0, 0, frame], 2)
