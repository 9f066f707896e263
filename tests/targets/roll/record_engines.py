"""Record what vLLM and SGLang register: `python tests/targets/roll/record_engines.py PATH...`.

Each PATH is a checkout of either, an unpacked release, or a folder that they are installed in. What is recorded serves
machines that have neither; it says which version and commit it is of, and when it was read.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from scaffold_tools.errors import BadInput, ScaffoldError
from scaffold_tools.targets.roll.engines_recorded import RECORDED, write
from scaffold_tools.targets.roll.engines_registries import READERS, Registry


def main(arguments: Sequence[str]) -> int:
    """Read every folder and write the file; exit code 2 where a folder has neither engine."""
    try:
        found: list[Registry] = []
        for argument in arguments:
            root = Path(argument)
            present = [engine for engine in READERS if any((root / part / engine).is_dir() for part in ("", "python"))]
            if not present:
                raise BadInput(f"{argument} has neither vllm nor sglang", hint="give the root of a checkout")
            found += [READERS[engine](root, "checkout") for engine in present]
    except ScaffoldError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write(RECORDED, found, datetime.datetime.now(tz=datetime.UTC).date().isoformat())
    for registry in found:
        print(f"{registry.engine} {registry.label}: {len(registry.architectures)} architectures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
