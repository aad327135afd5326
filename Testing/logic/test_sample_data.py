"""The public CT in Slicer's module Sample Data."""

from __future__ import annotations

import sys
from pathlib import Path

import recorded

from UnCoLSegmentLib.SampleData import FILE_NAME, SHA256, registerSampleData


def test_the_sample_is_registered_with_its_checksum_and_nothing_is_fetched(monkeypatch, tmp_path: Path) -> None:
    registered = []
    module = recorded.module("SampleData", {"SampleDataLogic.registerCustomSampleDataSource": registered.append})
    monkeypatch.setitem(sys.modules, "SampleData", module)

    registerSampleData(tmp_path)

    [facts] = registered
    assert facts["uris"].startswith("https://")
    assert facts["uris"].endswith(SHA256)
    assert facts["checksums"] == f"SHA256:{SHA256}"
    assert facts["fileNames"] == FILE_NAME
