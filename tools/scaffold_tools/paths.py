"""Where the data files are: beside the code in a wheel, at the top of the repository in a clone."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str) -> Path:
    """The folder `name` (`templates`, `skills`, `examples`) of this installation."""
    packaged = _PACKAGE / "_data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent / name


def harness_dir() -> Path:
    """Scripts that run inside the target's own Python; they import nothing of ours."""
    return _PACKAGE / "verify" / "harness"
