"""A public abdominal CT in Slicer's module Sample Data. Nothing is fetched until the user clicks on it."""

from __future__ import annotations

from pathlib import Path

CATEGORY = "UnCoL"
SAMPLE_NAME = "UnCoLAbdomenCT"
NODE_NAME = "AbdomenCT"
# Address, SHA-256 and terms as in Slicer's own catalog of sample data (Modules/Scripted/SampleData, commit 01c2def0e7).
FILE_NAME = "Panoramix-cropped.nrrd"
SHA256 = "146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433"
URL = f"https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/{SHA256}"


def registerSampleData(moduleFolder: Path) -> None:
    """Add the CT to the module Sample Data; call it once the application has started."""
    import SampleData

    thumbnail = moduleFolder / "Resources" / "Icons" / f"{SAMPLE_NAME}.png"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        thumbnailFileName=str(thumbnail) if thumbnail.is_file() else None,
        uris=URL,
        fileNames=FILE_NAME,
        checksums=f"SHA256:{SHA256}",
        nodeNames=NODE_NAME,
    )
