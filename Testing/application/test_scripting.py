"""The example for scripts in docs/slicer.md, run as it stands there."""

from __future__ import annotations

import os
import re
import tempfile
import unittest
from pathlib import Path

import slicer
import slicer.util

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "slicer.md"


class ScriptingTest(unittest.TestCase):
    """What a script can do without the panel."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(False)

    def test_the_example_of_the_manual_gives_a_proposal_and_a_map(self) -> None:
        from UnCoLSegment import MODULE_FOLDER
        from UnCoLSegmentLib.Dependencies import missingPackages
        from UnCoLSegmentLib.SelfTest import makePhantomVolume

        missing = missingPackages(MODULE_FOLDER / "Resources" / "requirements.txt")
        if missing:
            self.skipTest(f"the engine is not installed; missing: {', '.join(missing)}")
        [example] = re.findall(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            volume, _truth = makePhantomVolume()
            self.assertTrue(slicer.util.saveNode(volume, "ct.nrrd"))
            slicer.mrmlScene.Clear(False)

            names: dict[str, object] = {}
            exec(example, names)  # the manual is ours
            os.chdir(before)

        self.assertEqual(["liver"], [each.GetName() for each in _segmentsOf(names["proposal"])])
        uncertainty = slicer.util.arrayFromVolume(names["uncertainty"])
        self.assertTrue(0 <= uncertainty.min() < uncertainty.max() <= 1)

    def test_a_script_that_asks_for_nothing_possible_is_told_so(self) -> None:
        from UnCoLSegment import UnCoLSegmentLogic
        from UnCoLSegmentLib.SelfTest import makePhantomVolume

        volume, _truth = makePhantomVolume()
        logic = UnCoLSegmentLogic()
        self.addCleanup(logic.runs.shutdown)

        with self.assertRaisesRegex(ValueError, "either a box"):  # noqa: PT027  # Slicer has no pytest
            logic.process(volume)
        with self.assertRaisesRegex(Exception, 'The model "nobody" is not on'):  # noqa: PT027
            logic.process(volume, model="nobody")


def _segmentsOf(node: object) -> list[object]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]


if __name__ == "__main__":
    unittest.main()
