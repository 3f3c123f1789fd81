"""Runs every benchmark of this folder, one process each, and writes one markdown table set.

python benchmarks/run_all.py [--only knn chamfer] [--output docs/benchmarks/operators_cpu.md]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def main() -> int:
    """Run the chosen benchmarks in turn; a failing one is reported and does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--only", nargs="*", default=None, help="names without the bm_ prefix")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / f"operators_{device}.md")
    args = parser.parse_args()

    scripts = [p for p in sorted(HERE.glob("bm_*.py")) if args.only is None or p.stem[3:] in args.only]
    if not scripts:
        parser.error(
            f"no benchmark is named {args.only}; there are {[p.stem[3:] for p in sorted(HERE.glob('bm_*.py'))]}"
        )
    sections, failed = [], []
    for number, script in enumerate(scripts, start=1):
        print(f"[{number}/{len(scripts)}] {script.stem}", file=sys.stderr, flush=True)
        result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=ROOT)
        if result.returncode:
            failed.append(script.stem)
            print(result.stderr[-2000:], file=sys.stderr)
            continue
        start = result.stdout.index("## ")
        sections.append(result.stdout[start:].strip())
        print(sections[-1], flush=True)
    clock = (
        "Time between two events around a call. Rates: the least bytes that a call must move, or its operations, over "
        "that time."
        if device == "cuda"
        else "One thread: median CPU time of the process; two threads: median wall time."
    )
    head = (
        f"# Operators beside their peers ({device})\n\n"
        f"Made by `make bench`. Ratio = best peer / mae3d: above 1 mae3d is faster. {clock} A peer that is not "
        "installed is listed as absent.\n"
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text("\n\n".join([head.strip(), *sections]) + "\n")
    print(f"written: {args.output}", file=sys.stderr)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
