"""Convert official checkpoints to safetensors of ours, or back.

    python tools/convert_checkpoint.py point-mae pretrain.pth -o point_mae.safetensors
    python tools/convert_checkpoint.py point-mae point_mae.safetensors -o official.pth --export
    python tools/convert_checkpoint.py retro-mae epoch_8.pth -o model.safetensors --export --kind masked_lm

Every tensor must be known, present and of the right shape; the kind of file is recognised by its names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mae3d.checkpoints import SYSTEMS, convert, export, load_weights, save_safetensors
from mae3d.checkpoints.files import find_weights, save_torch
from mae3d.errors import Mae3dError


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=sorted(SYSTEMS), help="whose files these are")
    parser.add_argument("file", type=Path, help="official file, or with --export one of ours")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    parser.add_argument("--export", action="store_true", help="from our names to the official layout")
    parser.add_argument("--kind", help="of official file to write (default: the one that holds everything)")
    return parser.parse_args()


def main() -> None:
    """Convert one file and print what was in it."""
    arguments = parse_arguments()
    try:
        weights = load_weights(arguments.file)
        if arguments.export:
            done = export(arguments.system, weights, arguments.kind)
            content = done.layout.file_content(done.state)
            if arguments.output.suffix == ".safetensors":
                save_safetensors(find_weights(content), arguments.output)
            else:
                save_torch(content, arguments.output)
        else:
            done = convert(arguments.system, weights)
            save_safetensors(done.state, arguments.output, {"system": done.system, "kind": done.layout.kind})
    except Mae3dError as error:
        sys.exit(f"error: {error}")
    print(f"{done}\nwrote {arguments.output}")


if __name__ == "__main__":
    main()
