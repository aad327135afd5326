"""UnCoL's module in 3D Slicer. All that it does lies in UnCoLSegmentLib; Slicer wants these four classes here."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

MODULE_FOLDER = Path(__file__).resolve().parent
OUR_PACKAGES = ("UnCoLSegmentLib", "uncol")


class UnCoLSegment(ScriptedLoadableModule):
    """What Slicer tells about the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("UnCoL Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Colors", "Markups", "Plots", "SegmentEditor", "Segmentations", "Volumes"]
        self.parent.contributors = ["UnCoL contributors"]
        self.parent.helpText = _(
            "Segment a structure that no ready-made model knows: annotate a few slices, fine-tune on this computer, "
            "and see where the result can be trusted. No image leaves this computer.<p><b>Research use only. Not a "
            'medical device.</b><p><a href="{url}">Documentation</a>'
        ).format(url="https://github.com/UnCoL/SlicerUnCoL/blob/main/docs/slicer.md")
        self.parent.acknowledgementText = _(
            "The method is that of Lu, Hong and Yang, IEEE Transactions on Medical Imaging 2026, "
            "doi:10.1109/TMI.2026.3664940. The foundation model is LiteMedSAM, Apache-2.0."
        )


class UnCoLSegmentWidget(ScriptedLoadableModuleWidget):
    """The panel's frame."""

    panel = None  # not in a constructor: without a parent, that of the base class calls `setup`

    def setup(self):
        """Build the panel when the user opens the module for the first time."""
        from UnCoLSegmentLib.Panel.Widget import Widget

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = UnCoLSegmentLogic()
        self.panel = Widget(self, self.logic.runs, self.logic)
        self.panel.setup()
        if getattr(self.parent, "isEntered", False):  # loaded again under the user's eyes: nobody else calls `enter`
            self.enter()

    def enter(self):
        """Tell the panel that the user comes."""
        if self.panel:
            self.panel.enter()

    def exit(self):
        """Tell the panel that the user goes to another module."""
        if self.panel:
            self.panel.exit()

    def cleanup(self):
        """End what runs; Slicer quits, or the module is loaded again."""
        if self.panel:
            self.panel.cleanup()
            self.panel = None

    def nodeEditable(self, node):
        """Say how well this module shows a node: results better than any other module, the rest not at all."""
        from UnCoLSegmentLib.Scene.Results import volumeOf

        return 0.9 if volumeOf(node) is not None else 0.0

    def setEditedNode(self, node, role="", context=""):  # noqa: ARG002 - Slicer gives all three
        """Show a proposal or a map with its volume; *Edit properties* in the data tree asks for it."""
        return bool(self.panel and self.panel.showResult(node))

    def onReload(self):
        """Load all of our code again; Slicer by itself loads this file only."""
        self.cleanup()
        for name in [each for each in sys.modules if each.partition(".")[0] in OUR_PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class UnCoLSegmentLogic(ScriptedLoadableModuleLogic):
    """Keeps the parameter node, for which Slicer has a base class, beside the logic that does the work."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        from UnCoLSegmentLib.Logic import Logic
        from UnCoLSegmentLib.Panel.Settings import modelFolder

        self.runs = Logic(modelFolder(), cacheFolder=Path(slicer.app.cachePath) / "UnCoL")

    def process(self, volume, box=None, model=""):
        """Segment a volume and wait for the result; the application goes on drawing meanwhile.

        Args:
            volume: A scalar volume node.
            box: An ROI node round the structure; or
            model: The name of one of the user's models.

        Returns:
            The proposed segmentation and the map of its uncertainty, two nodes.

        Raises:
            ValueError: If both or neither of box and model are given.
            UncolError: If that is not possible; its text says why and what to do.
        """
        from UnCoLSegmentLib.Scripting import segment

        return segment(self, volume, box, model)


class UnCoLSegmentTest(ScriptedLoadableModuleTest):
    """The whole loop on a phantom, for the button Reload and Test and for Slicer's own test runs."""

    def setUp(self):
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear(False)

    def runTest(self):
        """Run the test."""
        self.setUp()
        self.test_TheWholeLoopOnAPhantom()

    def test_TheWholeLoopOnAPhantom(self):
        """Segment from a box, annotate, fine-tune, segment with the model, look at the uncertainty."""
        from UnCoLSegmentLib.Dependencies import missingPackages
        from UnCoLSegmentLib.SelfTest import runSelfTest

        missing = missingPackages(MODULE_FOLDER / "Resources" / "requirements.txt")
        if missing:
            # Not skipTest: the application would call that a failure.
            self.delayDisplay(f"Nothing was tested. Click Segment once to install: {', '.join(missing)}")
            return
        self.delayDisplay("Running the whole loop on a phantom; this takes a minute or two")
        story = runSelfTest(UnCoLSegmentLogic())
        self.delayDisplay(f"Test passed: Dice {story.diceOfFirst:.2f} from a box, {story.diceOfLast:.2f} afterwards")
