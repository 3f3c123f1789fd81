"""Who wrote a folder of simulated data: an interrupted simulation goes on, other data are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mae3d.datasets.files import atomic_write
from mae3d.errors import DataError

MANIFEST = "simulated.json"


def claim_folder(root: Path, settings: dict[str, Any]) -> None:
    """Note in ``root`` what is written there; refuse a folder with other data.

    Raises:
        DataError: The folder holds files that this simulation with these settings did not write.
    """
    manifest = root / MANIFEST
    if manifest.is_file():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if found != settings:
            raise DataError(
                f"{root}: holds a simulation with {found}, asked for {settings}. Delete it or go elsewhere."
            )
        return
    if root.is_dir() and any(root.iterdir()):
        raise DataError(f"{root}: holds files that are no simulation; they are left alone. Choose an empty folder.")
    with atomic_write(manifest, "w") as file:
        json.dump(settings, file)
