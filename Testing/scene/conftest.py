"""What the tests on a real MRML scene share: `slicer.i18n` and the like are importable."""

import stand_ins  # noqa: F401
