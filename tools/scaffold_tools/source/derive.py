"""`python -m scaffold_tools.source.derive FOLDER` writes FOLDER/tensors.json, derived from the class in transformers.

For folders that hold a config.json alone, such as the embedded examples.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scaffold_tools.errors import ScaffoldError
from scaffold_tools.source.read import DeriveTable, read_inventory
from scaffold_tools.source.saved import SAVED_FILE, save_table


def write_table(folder: Path, derive_table: DeriveTable) -> Path:
    """Derive the table from FOLDER/config.json alone and save it beside it.

    Raises:
        BadInput: config.json is unusable or transformers does not know it.
    """
    inventory = read_inventory(str(folder / "config.json"), derive_table=derive_table)
    assert inventory.tensors is not None
    path = folder / SAVED_FILE
    path.write_text(save_table(inventory.tensors), encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> int:
    """The command of this module; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scaffold_tools.source.derive", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    try:
        from scaffold_tools.verify.lane import LaneSession

        with LaneSession() as session:
            write_table(folder, lambda request: session.call("tensor_table", request))
    except ScaffoldError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
