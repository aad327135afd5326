"""`uncol view`: look through a result in the browser, without 3D Slicer."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading, print_result, say
from uncol.cli.serving import PageServer
from uncol.core.errors import ConfigError
from uncol.core.jobs import DicomChoice

if TYPE_CHECKING:  # loading it takes seconds
    from uncol.pipelines.view import ViewJob

_SERVED_VOXELS = 64_000_000
"""More would not fit into a browser."""


def view(
    result: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder that segment, demo or fine-tune --proposal wrote.", readable=False),
    ],
    image: Annotated[
        Path | None, typer.Option("--image", "-i", help="The image, in full; else the report's.", readable=False)
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", "-r", help="Label map that counts as right.", readable=False)
    ] = None,
    compare: Annotated[
        options.Texts, typer.Option(metavar="NAME=FILE", help="Another segmentation of the image; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for view.html; else DIR.", readable=False)
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show it in full resolution, from this machine to this machine alone.")
    ] = False,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    series: options.Series = None,
    allow_incomplete: options.AllowIncomplete = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Look through a result in the browser: three planes, 3D, where to look, your verdict."""
    dicom = DicomChoice(series, allow_incomplete)
    compared = dict(options.parsed(compare, _named_file))
    with loading():
        from uncol.pipelines.view import ViewJob, write_view
    job = ViewJob(result, image, reference, compared, dicom)
    if serve:
        _serve(job, out or result, opens=opens)
        return
    page = write_view(job, out)
    if not print_result({"page": str(page)}, as_json=as_json):
        say(f"The page is {page}; it needs no network, and nothing leaves it.")
    if opens and not as_json:
        webbrowser.open(page.absolute().as_uri())


def _named_file(text: str) -> tuple[str, Path]:
    name, between, path = text.partition("=")
    if not (between and name.strip() and path):
        message = f'"{text}" does not say what to compare with. Write NAME=FILE, as in before=old/segmentation.nii.gz.'
        raise ConfigError(message)
    return name.strip(), Path(path)


def _serve(job: ViewJob, folder: Path, *, opens: bool) -> None:
    with loading():
        from uncol.data.io import check_writable, write_results
        from uncol.pipelines.view import VERDICT_FILE, scene_of
        from uncol.report.viewer import view_page
    scene = scene_of(job, _SERVED_VOXELS)
    check_writable(folder)
    with PageServer(
        lambda address: view_page(scene, address), lambda verdict: write_results(folder, {}, {VERDICT_FILE: verdict})
    ) as server:
        say(f"Open {server.address} on this machine; a verdict is saved in {folder}. Ctrl-C ends it.")
        if opens:
            webbrowser.open(server.address)
        server.serve_forever()
