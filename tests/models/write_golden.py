"""Writes the lists of weight names that test_conformance.py holds models to: python tests/models/write_golden.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.models.test_conformance import GOLDEN, MODEL_NAMES, build, describe

if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in MODEL_NAMES:
        (GOLDEN / f"{name}.txt").write_text("\n".join(describe(build(name))) + "\n")
        print(f"wrote {GOLDEN / name}.txt")
