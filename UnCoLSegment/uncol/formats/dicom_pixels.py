"""The pixels of DICOM images as real numbers: each is stored x slope + intercept of its own image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.formats.dicom_frames import Frame, quoted
from uncol.formats.dicom_gdcm import Gdcm
from uncol.formats.dicom_header import PixelData, inflated_pixels
from uncol.formats.dicom_tags import UNREADABLE
from uncol.formats.paths import unreadable

_STREAM_ENDS_WITH = b"\xff\xd9"
"""How each image ends that is JPEG, JPEG-LS or JPEG 2000 (ITU-T T.81 and T.87, EOI; T.800, EOC)."""
_PLUGINS = {
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
    **dict.fromkeys((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes), "gdcm"),
    RLELossless: "pydicom",
}
_TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.int64)
_LARGEST_EXACT = 2.0**53  # a double holds every whole number up to here


class _DecodeError(Exception):
    """The pixels of a file cannot be had; the text is a short phrase about it."""


def value_type(frames: Sequence[Frame]) -> np.dtype[Any]:
    """Return the smallest type that holds every value that the images could have: whole numbers, or float32."""
    kinds = {(*_stored_range(each), each.slope, each.intercept) for each in frames}
    ranges = [_possible_range(*kind) for kind in kinds]
    least, greatest = min(low for low, _ in ranges), max(high for _, high in ranges)
    if any(map(math.isnan, chain(*ranges))) or max(-least, greatest) > _LARGEST_EXACT:
        return np.dtype(np.float32)
    limits = [np.iinfo(each) for each in _TYPES]
    return next(each.dtype for each in limits if each.min <= least and greatest <= each.max)


def _stored_range(frame: Frame) -> tuple[float, float]:
    """Return the limits of what is stored; not a number for fractions."""
    if frame.lookup is not None:
        return 0, np.iinfo(np.uint16).max
    if frame.pixels.keyword != "PixelData":
        return math.nan, math.nan
    bits = frame.pixels.bits_stored
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if frame.pixels.is_signed else (0, 2.0**bits - 1)


def _possible_range(low: float, high: float, slope: float, intercept: float) -> tuple[float, float]:
    if not (slope.is_integer() and intercept.is_integer()):
        return math.nan, math.nan
    ends = low * slope + intercept, high * slope + intercept
    return min(ends), max(ends)


def read_into(voxels: NDArray[Any], frames: Sequence[Frame], gdcm: Gdcm) -> dict[Path, str]:
    """Fill an array (K, J, I) with images, in its own type, one at a time.

    Args:
        voxels: One slice for each image; those of files that cannot be decoded are left as they are.
        frames: The images.
        gdcm: What decodes JPEG.

    Returns:
        The files that cannot be decoded, and why in a short phrase.

    Raises:
        DataError: If a file can no longer be read.
    """
    failed: dict[Path, str] = {}
    order = sorted(range(len(frames)), key=lambda number: (frames[number].pixels.path, frames[number].index))
    for path, group in groupby(order, key=lambda number: frames[number].pixels.path):
        numbers = [*group]
        try:
            with opened(path) as (file, _):
                indices = [frames[number].index for number in numbers]
                images = _stored_images(file, frames[numbers[0]].pixels, indices, gdcm)
                for number, image in zip(numbers, images, strict=True):
                    _put(voxels[number], image, frames[number])
        except OSError as error:
            raise DataError(unreadable(quoted(path), error)) from error
        except _DecodeError as error:
            failed[path] = str(error)
        except UNREADABLE:
            failed[path] = _undecodable(frames[numbers[0]].pixels)
    return failed


def _undecodable(pixels: PixelData) -> str:
    name = UID(pixels.syntax).name
    return "not to be decoded" if name == pixels.syntax else f'not to be decoded as "{name}"'


def have_equal_values(frames: Sequence[Frame], gdcm: Gdcm) -> bool:
    """Say whether images of one size are the same in every pixel."""
    shape = len(frames), frames[0].pixels.rows, frames[0].pixels.columns
    values = np.zeros(shape, value_type(frames))
    return not read_into(values, frames, gdcm) and bool((values == values[0]).all())


def _put(out: NDArray[Any], stored: NDArray[Any], frame: Frame) -> None:
    if frame.lookup is not None:
        out[...] = apply_modality_lut(stored.astype(np.int32), frame.lookup)
    elif out.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, which the caller looks for
            out[...] = stored * np.float64(frame.slope) + frame.intercept
    elif frame.slope == 1:
        np.add(stored, int(frame.intercept), out=out, dtype=np.int64, casting="unsafe")
    else:
        out[...] = stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)


def _stored_images(file: BinaryIO, pixels: PixelData, indices: Sequence[int], gdcm: Gdcm) -> Iterator[NDArray[Any]]:
    """Yield images (J, I) of a file as they are stored, in rising order."""
    if pixels.offset is None:
        yield from _native_images(BytesIO(inflated_pixels(file)), 0, pixels, indices)
    elif pixels.is_compressed:
        yield from _decoded_images(file, pixels, set(indices), gdcm)
    else:
        yield from _native_images(file, pixels.offset, pixels, indices)


def _native_images(file: BinaryIO, offset: int, pixels: PixelData, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    kind = "f" if pixels.keyword != "PixelData" else "i" if pixels.is_signed else "u"
    if pixels.bits_allocated not in ((32, 64) if kind == "f" else (8, 16, 32)):
        message = f"{pixels.bits_allocated} bits for each pixel"
        raise _DecodeError(message)
    dtype = np.dtype(f"{'<' if pixels.is_little_endian else '>'}{kind}{pixels.bits_allocated // 8}")
    unused = pixels.bits_allocated - pixels.bits_stored
    for index in indices:
        file.seek(offset + index * pixels.frame_bytes)
        image = np.empty((pixels.rows, pixels.columns), dtype)
        if file.readinto(image.data.cast("B")) != image.nbytes:  # type: ignore[attr-defined]  # files and buffers can
            message = "cut off"
            raise _DecodeError(message)
        if unused:  # whatever stands in bits that do not count goes, and the sign goes up
            np.left_shift(image, unused, out=image)
            np.right_shift(image, unused, out=image)
        yield image


def _decoded_images(file: BinaryIO, pixels: PixelData, indices: set[int], gdcm: Gdcm) -> Iterator[NDArray[Any]]:
    file.seek(pixels.offset or 0)
    syntax = UID(pixels.syntax)
    decoder, plugin = get_decoder(syntax), _PLUGINS[syntax]
    streams = generate_frames(file, number_of_frames=pixels.frame_count, extended_offsets=pixels.offset_table)
    options: dict[str, Any] = {
        "pixel_keyword": pixels.keyword,
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.is_signed),
    }
    for index, stream in enumerate(streams):
        if index not in indices:
            continue
        if syntax != RLELossless and not stream.rstrip(b"\0").endswith(_STREAM_ENDS_WITH):
            message = "cut off within compressed pixels"
            raise _DecodeError(message)
        if plugin == "gdcm":
            image = gdcm.decoded(stream, syntax, options)
        else:
            image, _ = decoder.as_array(encapsulate([stream]), raw=True, decoding_plugin=plugin, **options)
        if image is None:
            raise _DecodeError(_undecodable(pixels))
        yield image
