"""Add to a CycloneDX file what lies in the repository without being a Python package: `make sbom` calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from uncol.report.viewer import NIIVUE


def vendored() -> dict[str, Any]:
    """Return NiiVue as a component."""
    return {
        "type": "library",
        "bom-ref": "niivue",
        "name": NIIVUE["package"],
        "version": NIIVUE["version"],
        "purl": f"pkg:npm/{NIIVUE['package'].replace('@', '%40')}@{NIIVUE['version']}",
        "hashes": [{"alg": "SHA-256", "content": NIIVUE["sha256"]}],
        "licenses": [{"license": {"id": "BSD-2-Clause"}}],
    }


def main(path: Path) -> None:
    """Add it to a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["components"].append(vendored())
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
