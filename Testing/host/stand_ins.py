"""Makes `slicer.i18n`, `slicer.packaging`, `slicer.parameterNodeWrapper` and the like importable; needs no Qt itself.

Put this folder on `sys.path` and import this module before anything of UnCoL's Slicer side.
"""

from __future__ import annotations

from pathlib import Path

import slicer

# Only after slicer was imported: what lies in one of its folders by then is imported by it at once, Qt and all.
_ADDITIONS = str(Path(__file__).parent / "slicer_additions")
if _ADDITIONS not in slicer.__path__:
    slicer.__path__.append(_ADDITIONS)
