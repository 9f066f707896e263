"""Records a real run into README.md: `python -m scaffold.recording`. Nobody types output there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from scaffold.reference import ROOT, replace_part

NEW_MODEL = "scaffold new-model examples/Qwen--Qwen3-8B --regenerate --out demo-out"
COMMANDS = (NEW_MODEL, f"{NEW_MODEL} 2>/dev/null | tail -n 4", "scaffold undo")


def record(command: str, cwd: Path) -> str:
    """What a person sees of a command, stdout and stderr in order."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; export PATH={Path(sys.executable).parent}:$PATH; {command}"],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join([f"$ {command}", *lines])


def main() -> None:
    """Run the commands in an empty folder and put what they print into README.md."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        text = "\n\n".join(record(command, Path(folder)) for command in COMMANDS)
    path = ROOT / "README.md"
    path.write_text(replace_part(path.read_text(encoding="utf-8"), "recording", f"```text\n{text}\n```"), "utf-8")


if __name__ == "__main__":
    main()
