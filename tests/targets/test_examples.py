"""Example scripts of a checkout: sound shell, flags that the called scripts have, and recipes that exist."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from scaffold_tools.targets.megatron_bridge.blocks import choose_blocks
from scaffold_tools.targets.megatron_bridge.examples import UNCACHED
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.targets.megatron_bridge.profile import Registration
from targets.blueprints import qwen3, with_fact
from targets.checkouts import checkout, plan_in, profile_of
from targets.test_recipe_rules import mixture

FOLDER = "examples/models/qwen3/qwen3"
SCRIPTS = (
    "scripts/conversion/convert.sh",
    "examples/conversion/hf_to_megatron_generate_text.py",
    "scripts/training/run_recipe.py",
)
CALLED = {
    "scripts/conversion/convert.sh": ("scripts/conversion/arguments.py",),
    "examples/conversion/hf_to_megatron_generate_text.py": ("examples/conversion/hf_to_megatron_generate_text.py",),
    "scripts/training/run_recipe.py": ("scripts/training/run_recipe.py",),
}
"""What an example calls, and where its flags are declared."""
LEGACY = ("--dry_run", "--dump_env", "--peft-scheme", "--packed-sequence", "--seq-length", "--seq_length")
"""Flags that upstream's test of documentation refuses beside `run_recipe.py`."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in SCRIPTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('parser.add_argument("--legacy-full-prefix")\n')
    return checkout(tmp_path)


def planned(root: Path, blueprint=None):
    return plan_in(root, blueprint or qwen3(), "Qwen/Qwen3-8B")


def texts(root: Path, blueprint=None) -> dict[str, str]:
    return {change.path: change.content for change in planned(root, blueprint).changes}


def commands(text: str) -> list[list[str]]:
    """Every command of a script or of a README's shell blocks, as words, continuation lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S) if "```bash" in text else [text]
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in joined.splitlines() if line.count('"') % 2 == 0]


def called(text: str) -> list[tuple[str, list[str]]]:
    """(script, flags) of every command that runs one of the checkout's scripts."""
    found = []
    arrays = " ".join(re.findall(r"(?ms)^ARGS=\((.*?)^\)", text))
    for words in commands(text):
        for name in CALLED:
            if any(word.removeprefix("./") == name for word in words):
                at = next(index for index, word in enumerate(words) if word.removeprefix("./") == name)
                own = words[at + 1 :] + (shlex.split(arrays) if "${ARGS[@]}" in words else [])
                found.append((name, [word.split("=")[0] for word in own if word.startswith("--")]))
    return found


@pytest.mark.parametrize("blueprint", [qwen3(), mixture()], ids=["dense", "mixture"])
def test_every_script_is_sound_shell_and_executable(root, blueprint):
    changes = [change for change in planned(root, blueprint).changes if change.path.endswith(".sh")]
    assert {Path(change.path).name for change in changes} == {
        *("conversion.sh", "inference.sh", "slurm_sft.sh", "slurm_peft.sh"),
    }
    for change in changes:
        assert change.executable and change.content.startswith("#!/usr/bin/env bash\n")
        checked = subprocess.run(["bash", "-n"], input=change.content, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, ""), change.path
    broken = subprocess.run(["bash", "-n"], input=changes[0].content + "\nif true", text=True, capture_output=True)
    assert broken.returncode != 0


def test_a_script_runs_up_to_what_it_calls(root):
    """The fine-tuning script with a stand-in for srun: what reaches the launcher is one word a setting."""
    script = root / f"{FOLDER}/slurm_sft.sh"
    script.parent.mkdir(parents=True)
    script.write_text(texts(root, mixture())[f"{FOLDER}/slurm_sft.sh"])
    stand_in = root / "bin" / "srun"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    env = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "WORKSPACE": "/a place"}
    ran = subprocess.run(["bash", script, "logger.log_interval=5"], env=env, capture_output=True, text=True)
    assert ran.returncode != 0 and "CONTAINER_IMAGE" in ran.stderr, "without a container it says what to set"
    env["CONTAINER_IMAGE"] = "/image.sqsh"
    ran = subprocess.run(
        ["bash", script, "logger.log_interval=5"], env=env, capture_output=True, text=True, check=True
    )
    words = ran.stdout.splitlines()
    name = next(word for word in words if word.endswith("_sft_config"))
    assert name in "".join(texts(root, mixture()).values())
    assert "checkpoint.pretrained_checkpoint=/a place/models/" + name.removesuffix("_sft_config") in words
    assert words[-1] == "logger.log_interval=5"


def test_scripts_are_written_only_where_the_checkout_has_what_they_call(root):
    assert f"{FOLDER}/conversion.sh" in texts(root)
    for name in SCRIPTS:
        (root / name).unlink()
    left = [path for path in texts(root) if path.startswith(FOLDER)]
    assert left == [f"{FOLDER}/README.md"]


def test_the_readme_tells_the_recipes_that_there_are(root):
    found = texts(root)
    readme = found[f"{FOLDER}/README.md"]
    told = set(re.findall(r"`(\w+_config)`", readme))
    assert told == {f"qwen3_8b_{task}_config" for task in ("pretrain", "sft", "peft")}
    aliases = found["src/megatron/bridge/recipes/qwen3/qwen3_8b.py"]
    assert all(f'"{name}"' in aliases for name in told)


def test_no_flag_that_upstream_retired_is_told(root):
    for path, text in texts(root, mixture()).items():
        if path.startswith(FOLDER) and "run_recipe.py" in text:
            assert not [flag for flag in LEGACY if flag in text], path
    lines = texts(root)[f"{FOLDER}/README.md"].splitlines()
    assert not any("python" in line and "convert.sh" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mixer", ("short_conv.layers", [True] * 36)),
        ("own attention", ("attention.softcap", 50.0)),
        ("selected keys", None),
    ],
)
def test_models_that_keep_no_cache_are_told_apart(root, name, change):
    row = next(one for one in UNCACHED if one.name == name)
    assert row.reason and not row.holds(choose_blocks(qwen3()))
    if change is not None:
        blueprint = with_fact(qwen3(), *change)
        assert row.holds(choose_blocks(blueprint))
    else:
        assert row.holds(dataclasses.replace(choose_blocks(qwen3()), features=frozenset({"key_selection"})))


def test_text_is_generated_without_a_cache_where_the_script_can(root):
    capped = with_fact(qwen3(), "attention.softcap", 50.0)
    assert "--legacy-full-prefix" in texts(root, capped)[f"{FOLDER}/inference.sh"]
    assert "--legacy-full-prefix" not in texts(root)[f"{FOLDER}/inference.sh"]
    (root / "examples/conversion/hf_to_megatron_generate_text.py").write_text("")
    assert "--legacy-full-prefix" not in texts(root, capped)[f"{FOLDER}/inference.sh"]


def test_examples_of_a_bridge_that_the_checkout_has_are_kept(root):
    """A second run finds its own files there, and leaves them too."""
    profile = profile_of(root)
    own = Registration("Qwen3ForCausalLM", "class", "megatron.bridge.models.qwen3.qwen3_bridge", "Qwen3Bridge")
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "README.md").write_text("by hand")
    paths = {}
    for registrations in ((), (own,)):
        known = dataclasses.replace(profile, registrations=registrations)
        plan = make_plan(qwen3(), root=root, profile=known, options=Options("Qwen/Qwen3-8B", year=2026))
        paths[registrations] = {Path(change.path).name for change in plan.changes if change.path.startswith(FOLDER)}
    assert "README.md" in paths[()] and "README.md" not in paths[(own,)]
    assert "conversion.sh" in paths[(own,)]


def launch(root: Path, text: str, name: str = "L1_Launch_models_x.sh") -> Path:
    path = root / "tests/functional_tests/launch_scripts/h100/active" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


LAUNCHED = "tests/functional_tests/launch_scripts/h100/active/L2_Launch_models_qwen3.sh"
GROUP = "tests/functional_tests/test_groups/models"


def test_a_conversion_test_that_nothing_launches_gets_a_script(root):
    launch(root, f"pytest \\\n  {GROUP}/llama\n")
    found = texts(root)
    lines = found[LAUNCHED].splitlines()
    assert lines[0] == "# CI_TIMEOUT=15" and f"  {GROUP}/qwen3" in lines
    assert '"$(dirname "$0")/../../../../.."' in found[LAUNCHED]
    (root / LAUNCHED).write_text(found[LAUNCHED])
    assert texts(root)[LAUNCHED] == found[LAUNCHED], "its own script is not the reason to leave it out"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{GROUP}/qwen3", None),
        (f"{GROUP}/qwen3/test_qwen3_conversion.py", None),
        (f"{GROUP}/qwen3/test_other.py", f"{GROUP}/qwen3/test_qwen3_conversion.py"),
        (f"{GROUP}/qwen30", f"{GROUP}/qwen3"),
    ],
)
def test_what_is_launched_already_is_not_launched_twice(root, line, expected):
    launch(root, f"pytest \\\n  {line} \\\n  -x\n")
    text = texts(root).get(LAUNCHED)
    assert text is None if expected is None else f"  {expected}\n" in str(text)


def test_a_checkout_without_launch_scripts_gets_none(root):
    assert not [path for path in texts(root) if "Launch" in path]


def declared(path: Path) -> set[str]:
    """Flags that a script declares with `add_argument`, in its own source."""
    flags = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            flags |= {word.value for word in node.args if isinstance(word, ast.Constant) and str(word.value)[0] == "-"}
    return flags


@pytest.mark.skipif("SCAFFOLD_MB_REPO" not in os.environ, reason="SCAFFOLD_MB_REPO names no checkout")
@pytest.mark.parametrize("blueprint", [qwen3(), mixture(), with_fact(qwen3(), "attention.softcap", 50.0)])
def test_every_flag_exists_in_the_checkout(root, blueprint):
    """Read from the parsers' source, so that nothing has to be installed."""
    import shutil

    upstream = Path(os.environ["SCAFFOLD_MB_REPO"])
    for name in {*SCRIPTS, *(file for files in CALLED.values() for file in files)}:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(upstream / name, root / name)
    seen = 0
    for path, text in texts(root, blueprint).items():
        for script, flags in called(text) if path.startswith(FOLDER) else ():
            known = {flag for file in CALLED[script] for flag in declared(root / file)}
            assert set(flags) <= known, (path, script, set(flags) - known)
            seen += len(flags)
    assert seen > 30
    assert not {"--no-such-flag"} <= known
