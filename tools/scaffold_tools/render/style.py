"""The target's own formatter and linter settings, applied with ruff: one process for any number of files."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scaffold_tools.errors import EnvironmentLacks, ScaffoldError
from scaffold_tools.render.literals import toml_value


@dataclass(frozen=True)
class Style:
    """What ruff is told; the defaults are those of Megatron-Bridge's `ruff.toml`."""

    line_length: int = 119
    target_version: str = "py310"
    known_first_party: tuple[str, ...] = ("megatron.bridge",)
    known_third_party: tuple[str, ...] = (
        "megatron.core", "megatron", "torch", "transformers", "datasets", "accelerate", "wandb", "omegaconf", "hydra",
        "numpy", "examples", "scripts",
    )  # fmt: skip
    lines_after_imports: int = 2
    select: tuple[str, ...] = ("F541", "F841", "F401", "E741", "F821", "I", "D101", "D103")
    """Without E266, which upstream names too: it is a preview rule and has no effect there either."""
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("__init__.py", ("F401", "F403")),
        ("test_*.py", ("D101", "D103")),
        ("*_test.py", ("D101", "D103")),
        ("tests/*.py", ("D101", "D103")),
        ("modeling_*.py", ("D101", "D103")),
    )

    def toml(self) -> str:
        """A `ruff.toml` with these settings."""
        ignores = "\n".join(f"{toml_value(glob)} = {toml_value(codes)}" for glob, codes in self.per_file_ignores)
        return f"""line-length = {self.line_length}
target-version = {toml_value(self.target_version)}
[lint]
select = {toml_value(self.select)}
ignore = ["E501"]
[lint.isort]
known-first-party = {toml_value(self.known_first_party)}
known-third-party = {toml_value(self.known_third_party)}
section-order = ["future", "standard-library", "third-party", "first-party", "local-folder"]
lines-after-imports = {self.lines_after_imports}
[lint.per-file-ignores]
{ignores}
[format]
quote-style = "double"
line-ending = "auto"
"""


@dataclass(frozen=True)
class Finding:
    """One complaint of the linter."""

    path: str
    line: int
    code: str
    message: str


UPSTREAM = Style()


def format_many(files: Mapping[str, str], style: Style = UPSTREAM) -> dict[str, str]:
    """Python files (relative POSIX path to text) with imports sorted and code formatted; two processes in all.

    Raises:
        ScaffoldError: a file does not parse.
        EnvironmentLacks: ruff is not installed.
    """
    if not files:
        return {}
    with tempfile.TemporaryDirectory(prefix="scaffold-ruff-") as folder:
        names = _lay_out(Path(folder), files, style)
        _ruff(folder, ["check", "--select", "I", "--fix", "--quiet", "--exit-zero", "--", *names])
        _ruff(folder, ["format", "--quiet", "--", *names])
        return {name: (Path(folder) / name).read_bytes().decode("utf-8") for name in files}


def format_python(
    text: str,
    *,
    line_length: int = 119,
    known_first_party: Sequence[str] = UPSTREAM.known_first_party,
    lines_after_imports: int = 2,
    target_version: str = "py310",
    name: str = "module.py",
) -> str:
    """One file formatted; see `format_many`."""
    style = replace(
        UPSTREAM,
        line_length=line_length,
        known_first_party=tuple(known_first_party),
        lines_after_imports=lines_after_imports,
        target_version=target_version,
    )
    return format_many({name: text}, style)[name]


def lint_many(files: Mapping[str, str], style: Style = UPSTREAM) -> tuple[Finding, ...]:
    """What the target's linter and formatter would complain about; unformatted files have the code `format`."""
    if not files:
        return ()
    with tempfile.TemporaryDirectory(prefix="scaffold-ruff-") as folder:
        names = _lay_out(Path(folder), files, style)
        rows = json.loads(_ruff(folder, ["check", "--output-format", "json", "--exit-zero", "--", *names]))
        findings = [
            Finding(
                path=Path(row["filename"]).relative_to(Path(folder).resolve()).as_posix(),
                line=(row.get("location") or {}).get("row", 0),
                code=row.get("code") or "syntax",
                message=row["message"],
            )
            for row in rows
        ]
        broken = {finding.path for finding in findings if finding.code in ("syntax", "invalid-syntax")}
        before = {name: (Path(folder) / name).read_bytes() for name in names if name not in broken}
        if before:
            _ruff(folder, ["format", "--quiet", "--", *before])
        for name, content in before.items():
            if (Path(folder) / name).read_bytes() != content:
                findings.append(Finding(name, 1, "format", "would be reformatted"))
    return tuple(findings)


def lint_python(text: str, *, name: str = "module.py", style: Style = UPSTREAM) -> tuple[Finding, ...]:
    """The findings for one file; the name matters, since some rules spare tests and `__init__.py`."""
    return lint_many({name: text}, style)


def _lay_out(folder: Path, files: Mapping[str, str], style: Style) -> list[str]:
    (folder / "ruff.toml").write_text(style.toml(), encoding="utf-8")
    for name, text in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ScaffoldError(f"{name} is not a path inside the plan")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("utf-8"))
    return list(files)


def _ruff(folder: str, arguments: list[str], allowed: tuple[int, ...] = (0,)) -> str:
    command = [_executable(), arguments[0], "--no-cache", "--config", "ruff.toml", *arguments[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    if done.returncode not in allowed:
        raise ScaffoldError(f"ruff cannot read a generated file: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode("utf-8")


def _executable() -> str:
    try:
        from ruff.__main__ import find_ruff_bin

        return str(find_ruff_bin())
    except (ImportError, FileNotFoundError) as error:
        raise EnvironmentLacks(
            "ruff, which formats generated code, is not installed", hint="pip install ruff"
        ) from error
