"""The whole loop on a phantom in the application: box, proposal, annotated slices, fine-tune, uncertainty."""

from __future__ import annotations

import unittest

import slicer


class WholeLoopTest(unittest.TestCase):
    """The test that the module's own button Reload and Test runs, too."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(False)

    def test_the_loop_gives_a_proposal_a_model_and_an_uncertainty_map(self) -> None:
        from UnCoLSegment import MODULE_FOLDER, UnCoLSegmentLogic
        from UnCoLSegmentLib.Dependencies import missingPackages
        from UnCoLSegmentLib.SelfTest import runSelfTest

        missing = missingPackages(MODULE_FOLDER / "Resources" / "requirements.txt")
        if missing:
            self.skipTest(f"the engine is not installed; missing: {', '.join(missing)}")

        story = runSelfTest(UnCoLSegmentLogic())

        self.assertEqual("segment", story.first.kind)
        self.assertEqual("fineTune", story.fineTuned.kind)
        self.assertGreater(story.diceOfLast, 0.5)


if __name__ == "__main__":
    unittest.main()
