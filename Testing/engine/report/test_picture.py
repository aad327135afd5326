from __future__ import annotations

import gzip
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from mutated import counted, mutated, mutated_document
from nibabel import Nifti1Image
from small_results import TURNED, UPRIGHT, small_results, small_scene

from uncol.core.errors import DataError
from uncol.core.volume import Volume, view_slices
from uncol.report.picture import Picture, frame_of, nifti_text, picture_in, small_numbers
from uncol.report.viewer import view_page, viewer_of

OBLIQUE = np.array([[0, 0.3, 4.0, 5], [2.0, 0, 0.2, 6], [0, -3.0, 0.4, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("matrix", [UPRIGHT, TURNED, OBLIQUE], ids=["upright", "turned", "oblique"])
@pytest.mark.parametrize("most_voxels", [None, 500])
def test_every_voxel_of_the_page_is_the_files_voxel_at_that_place(matrix: np.ndarray, most_voxels: int | None) -> None:
    shape = (9, 20, 24)
    voxels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape) + 1
    image = Volume(voxels, matrix)

    frame = frame_of(image, np.zeros(shape, np.uint8), 0.0, "K", most_voxels)
    shown = frame.upright(voxels)

    to_ijk = np.linalg.inv(matrix)
    for index in product(*(range(0, size, 3) for size in shown.shape)):
        i, j, k = np.rint((to_ijk @ frame.matrix @ [*index, 1])[:3]).astype(int)
        assert shown[index] == voxels[k, j, i]
    assert np.abs(np.diag(frame.matrix)[:3]).argmax() == np.abs(frame.matrix[:3, :3]).max(axis=1).argmax()
    assert all(frame.matrix[axis, axis] > 0 for axis in range(3))  # right, front, up
    assert most_voxels is None or shown.size <= most_voxels
    page_axis, is_turned = frame.page_axis("K")
    numbers = list(frame.used("K"))
    first = shown[tuple(0 if axis == page_axis else slice(None) for axis in range(3))]
    assert first.min() in voxels[numbers[-1 if is_turned else 0]]


def test_air_is_left_out_but_no_slice_and_nothing_that_was_found() -> None:
    grey = np.full((6, 50, 60), -1000, np.int16)
    grey[:, 20:30, 20:30] = 50
    labels = np.zeros(grey.shape, np.uint8)
    labels[3, 5, 55] = 1

    frame = frame_of(Volume(grey, np.eye(4)), labels, -160.0, "K")

    assert frame.box == (slice(0, 6, 1), slice(5, 31, 1), slice(19, 56, 1))


@pytest.mark.parametrize(
    ("values", "kind"), [([-1000, 3000], "int16"), ([0, 255], "uint8"), ([0, 60000], "uint16"), ([0.5, 1], "float32")]
)
def test_grey_values_are_stored_in_the_smallest_type_that_holds_them(values: list[float], kind: str) -> None:
    assert small_numbers(np.array(values)).dtype == kind
    assert small_numbers(np.array(values)).tolist() == values


def test_a_file_in_the_page_is_a_nifti_file() -> None:
    stored = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    read = Nifti1Image.from_bytes(gzip.decompress(b64decode(nifti_text(stored, UPRIGHT, 1 / 255))))

    assert np.allclose(read.get_fdata(), stored / 255)
    assert np.allclose(read.affine, UPRIGHT)


def test_a_picture_is_found_again_in_a_page() -> None:
    results = small_results(TURNED)
    scene = small_scene(results)

    found = picture_in(view_page(scene), scene.labels)

    assert found.text == scene.picture.text
    assert found.frame.box == scene.picture.frame.box
    assert (found.window, found.windows, found.unit) == (
        scene.picture.window,
        scene.picture.windows,
        scene.picture.unit,
    )


@pytest.mark.parametrize("damage", ["empty", "no data", "cut", "other image"])
def test_a_page_without_this_picture_is_one_sentence(damage: str) -> None:
    results = small_results()
    scene = small_scene(results)
    html, labels = view_page(scene), scene.labels
    if damage == "empty":
        html = ""
    elif damage == "no data":
        html = html.replace('"picture"', '"pictures"')
    elif damage == "cut":
        html = html.replace(scene.picture.text, scene.picture.text[:40])
    else:
        labels = Volume(np.zeros((9, 20, 12), np.uint8), UPRIGHT)

    with pytest.raises(DataError, match="Give the image with --image"):
        picture_in(html, labels)


@pytest.mark.parametrize("count", [80, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_pages_give_a_picture_that_can_be_shown_or_one_sentence(
    tell: Callable[[str], None], count: int
) -> None:
    scene = small_scene(small_results())
    data = {"picture": scene.picture.as_document()}
    voxels = gzip.decompress(b64decode(scene.picture.text))

    def page_of(told: bytes, packed: str) -> bytes:
        image = f'<script type="text/plain" id="uncol-volume-image">{packed}</script>'.encode()
        return b'<script type="application/json" id="uncol-data">' + told + b"</script>" + image

    def with_voxels(content: bytes) -> bytes:
        return page_of(json.dumps(data).encode(), b64encode(gzip.compress(content, 1)).decode())

    pages = mutated_document(data).map(lambda told: page_of(told, scene.picture.text))
    pages |= mutated(with_voxels(voxels)) | mutated(voxels[:360]).map(lambda head: with_voxels(head + voxels[360:]))

    def use(content: bytes) -> None:
        found = picture_in(content.decode(errors="replace"), scene.labels)
        json.dumps(viewer_of(replace(scene, picture=found)).blocks, allow_nan=False)

    tell(f"mutated pages with a picture: {counted(count, pages, use, DataError)}")


def test_a_ct_has_windows_of_its_organs_and_other_images_their_own() -> None:
    results = small_results()
    view = view_slices(results.image, "axial")
    other = Picture.of(results.image, results.reference, view)
    body = np.full((9, 60, 60), -1000, np.int16)
    generator = np.random.default_rng(0)
    body[:, 10:50, 10:50] = generator.normal(40, 20, (9, 40, 40))
    body[:, 10:50, 10:16] = generator.normal(-100, 10, (9, 40, 6))
    ct = replace(results.image, voxels=body)

    assert (list(other.windows), other.unit) == (["Own"], "")
    found = Picture.of(ct, ct.with_voxels(np.zeros(body.shape, np.uint8)), view)
    assert (list(found.windows), found.unit) == (["Abdomen", "Lung", "Bone"], "HU")
