"""What lies in a folder: damaged slices never vanish in silence, and other files do not disturb."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless
from written_dicom import save_frames, save_segmentation, save_slices, save_structures, values

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.data.io import read_image

CONSENT = DicomChoice(allow_incomplete=True)
BIG = np.repeat(np.repeat(values(), 8, axis=1), 8, axis=2)  # for JPEG 2000, which needs some size


def cut(count: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:-count])


def of_no_kind(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[132:400] = bytes(268)
    path.write_bytes(content)


def lost_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


DAMAGES = [
    pytest.param(cut(6), "cut off", id="a few bytes missing"),
    pytest.param(lambda path: path.write_bytes(path.read_bytes()[:600]), "cut off|unreadable", id="cut in the header"),
    pytest.param(lambda path: path.write_bytes(b""), "empty", id="empty"),
    pytest.param(lambda path: path.write_bytes(bytes(100)), "no DICOM file", id="100 bytes"),
    pytest.param(lambda path: path.write_bytes(bytes(5000)), "no DICOM file", id="zeros"),
    pytest.param(of_no_kind, "unreadable", id="no class"),
    pytest.param(lost_link, "a link that leads nowhere", id="link"),
]


def test_a_link_to_a_pipe_among_the_slices_is_not_waited_for(tmp_path: Path) -> None:
    save_slices(tmp_path / "ct")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ct" / "x.dcm").symlink_to(tmp_path / "pipe")

    with pytest.raises(DataError, match=r'"x\.dcm" in Image "ct" cannot be read: "x\.dcm" is no regular file'):
        read_image(tmp_path / "ct")


@pytest.mark.parametrize("names", [".dcm", "", ".4711"])
@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_damaged_slices_are_counted_and_named_and_left_out_with_consent_only(
    damage: Callable[[Path], object], said: str, names: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_slices(tmp_path, names=[f"im{n}{names}" for n in range(5)])
    for n in (3, 4):
        damage(tmp_path / f"im{n}{names}")

    with pytest.raises(DataError) as caught:
        read_image(tmp_path)
    assert not caplog.messages
    volume = read_image(tmp_path, CONSENT)

    assert caught.match(rf'would be incomplete: 2 of 5 files cannot be used \(({said}): "im3{names}", "im4{names}"\)\.')
    assert str(caught.value).endswith("Copy or export the series again, or add --allow-incomplete to read the rest.")
    np.testing.assert_array_equal(volume.voxels, values()[:3])
    (warning,) = caplog.messages
    assert f'"im3{names}", "im4{names}"' in warning


def test_consent_does_not_close_a_gap(tmp_path: Path) -> None:
    save_slices(tmp_path)
    cut(6)(tmp_path / "1-003.dcm")

    with pytest.raises(DataError, match=r'1 slice is missing, .* between "1-004.dcm" and "1-002.dcm"'):
        read_image(tmp_path, CONSENT)


@pytest.mark.parametrize("form", ["plain", "deflated", "compressed", "frames", "compressed frames"])
def test_a_folder_of_which_everything_is_cut_off_is_damaged_and_not_without_images(form: str, tmp_path: Path) -> None:
    if "frames" in form:
        save_frames(tmp_path / "frames.dcm", BIG, compress=JPEG2000Lossless if "compressed" in form else None)
    elif form == "deflated":
        save_slices(tmp_path, syntax=DeflatedExplicitVRLittleEndian)
    else:
        save_slices(tmp_path, BIG, compress=JPEG2000Lossless if form == "compressed" else None)
    for path in tmp_path.iterdir():
        cut(30)(path)

    with pytest.raises(DataError, match=r"is damaged or incomplete \((cut off|unreadable): .*Copy or export the DICOM"):
        read_image(tmp_path, CONSENT)


def test_many_damaged_slices_are_counted_and_the_first_named(tmp_path: Path) -> None:
    save_slices(tmp_path, values(12))
    for path in sorted(tmp_path.iterdir())[:6]:
        path.write_bytes(b"")

    with pytest.raises(DataError, match=r'6 of 12 files .*empty: "1-001.dcm", "1-002.dcm", "1-003.dcm" and 3 more'):
        read_image(tmp_path)


def test_files_of_other_kinds_are_left_out_and_named_in_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_slices(tmp_path)
    save_structures(tmp_path / "rs.dcm")
    save_segmentation(tmp_path / "seg.dcm")
    (tmp_path / "README").write_text("written by the archive")
    (tmp_path / "Thumbs.db").write_bytes(bytes(200))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "DICOMDIR").write_bytes((tmp_path / "rs.dcm").read_bytes())
    save_slices(tmp_path / "below")

    np.testing.assert_array_equal(read_image(tmp_path).voxels, values())
    assert caplog.messages == [
        f'Left out of Image "{tmp_path.name}", no DICOM images (5): "README", "Thumbs.db", "notes.txt" and 2 more.'
    ]


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    save_slices(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[132:])

    np.testing.assert_array_equal(read_image(tmp_path).voxels, values())
    assert read_image(tmp_path / "1-001.dcm").shape_kji == (1, 6, 8)


def test_files_without_preamble_and_class_are_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_bytes(b"\x08\0" * 3000)

    with pytest.raises(DataError, match="folder without DICOM images"):
        read_image(tmp_path)
    with pytest.raises(DataError, match="of a format that is not read here"):
        read_image(tmp_path / "numbers")


def test_names_without_endings_and_with_bytes_that_are_no_text_are_read(tmp_path: Path) -> None:
    names = [os.fsdecode(b"slice \xfc %d" % n) for n in range(5)]
    save_slices(tmp_path, names=names)
    (tmp_path / names[4]).write_bytes(b"")

    np.testing.assert_array_equal(read_image(tmp_path, CONSENT).voxels, values()[:4])
    with pytest.raises(DataError, match=r'empty: "slice \? 4"'):
        read_image(tmp_path)


def test_a_folder_without_dicom_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    save_slices(tmp_path / "below")

    with pytest.raises(DataError, match=r"is a folder without DICOM images\. Choose the folder that directly holds"):
        read_image(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="rights are taken from root by setpriv")
def test_a_slice_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    save_slices(tmp_path)
    (tmp_path / "1-003.dcm").chmod(0)
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.geteuid() == 0 else []
    read = "import sys; from pathlib import Path; from uncol.data.io import read_image; read_image(Path(sys.argv[1]))"

    ended = subprocess.run(
        [*drop, sys.executable, "-c", read, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    said = f'DataError: "1-003.dcm" in Image "{tmp_path.name}" cannot be read: reading it is not permitted'
    assert said in ended.stderr.splitlines()[-1]
