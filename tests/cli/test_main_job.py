"""`scaffold new-model`, whole, as a user runs it: out of tree, in a checkout, again, undone, broken on purpose."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from scaffold.machine import site_packages
from scaffold_tools.errors import Refused
from support.kill_moments import KillMoments
from support.loopback_hub import LoopbackHub
from support.safetensors_bytes import safetensors_bytes

from .conftest import Ran, bytes_in, files_in, run, spawn

pytestmark = [pytest.mark.lane, pytest.mark.xdist_group("main-job")]

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "vocab_size": 256,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare config.json: the tensor table has to be derived."""
    folder = tmp_path_factory.mktemp("model") / "tiny-qwen3"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current folder of the out-of-tree runs."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def first(model: Path, place: Path) -> Ran:
    """The main job, out of tree."""
    return run("new-model", model, "--regenerate", "--json", cwd=place)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of Megatron-Bridge, made from the released package that the lane has."""
    packages = site_packages()
    assert packages is not None
    repo = tmp_path_factory.mktemp("repo") / "Megatron-Bridge"
    shutil.copytree(
        packages / "megatron" / "bridge",
        repo / "src" / "megatron" / "bridge",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "released")):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *command], cwd=repo, check=True)
    return repo


def test_a_bare_config_becomes_a_proven_package(first: Ran, place: Path) -> None:
    assert first.code == 0, first.err
    answer = first.json
    assert answer["proven"] is True
    assert answer["evidence_reused"] is False
    assert {file["status"] for file in answer["files"]} == {"create"}
    assert answer["evidence"]["bridge"].startswith("scaffold_qwen3.")
    assert answer["evidence"]["replaced"] == answer["supported_by"]
    assert files_in(place / "scaffold_qwen3") == {file["path"] for file in answer["files"]}


def test_progress_is_on_stderr_alone(first: Ran) -> None:
    assert first.out.startswith("{")
    for stage in ("source", "classify", "blueprint", "plan", "write", "verify"):
        assert f"✓ {stage}" in first.err


def test_the_checklist_ticks_what_was_measured_and_nothing_else(first: Ran, place: Path) -> None:
    text = run("checklist", cwd=place).out
    assert "- [x] logits.max" in text.replace("\\_", "_")
    ticked = [line for line in text.splitlines() if line.startswith("- [x]")]
    names = {check["name"] for check in first.json["evidence"]["checks"]}
    assert len(ticked) == len(names)
    assert "- [ ]" in text


def test_a_second_run_changes_nothing(first: Ran, model: Path, place: Path) -> None:
    before = bytes_in(place / "scaffold_qwen3")
    again = run("new-model", model, "--regenerate", "--json", cwd=place)
    assert again.code == 0
    assert {file["status"] for file in again.json["files"]} == {"identical"}
    assert again.json["evidence_reused"] is True
    assert again.json["evidence"]["checks"] == first.json["evidence"]["checks"]
    assert bytes_in(place / "scaffold_qwen3") == before


def test_a_changed_package_is_measured_again_and_found_wrong(first: Ran, place: Path, tmp_path: Path) -> None:
    """The negative control of the whole command: what is proven is what lies on disk."""
    copy = tmp_path / "place"
    shutil.copytree(place, copy)
    plan = copy / ".scaffold" / "tiny-qwen3" / "plan.json"
    plan.write_text(plan.read_text().replace(str(place), str(copy)))
    bridge = copy / "scaffold_qwen3" / "scaffold_qwen3" / "qwen3_bridge.py"
    text = bridge.read_text()
    bridge.write_text(
        text.replace("        return provider\n", "        provider.rotary_base = 9999.0\n        return provider\n")
    )
    ran = run("verify", "--json", cwd=copy)
    assert ran.code == 1, ran.err
    assert ran.json["proven"] is False
    failed = {check["name"] for check in ran.json["evidence"]["checks"] if check["status"] == "failed"}
    assert "logits.max_abs" in failed
    assert "round_trip.exact" not in failed
    assert "NOT proven" in (copy / ".scaffold" / "tiny-qwen3" / "checklist.md").read_text()


def test_an_edited_blueprint_is_planned_from_and_an_added_gap_is_exit_code_3(
    first: Ran, place: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "place"
    shutil.copytree(place, copy)
    file = copy / ".scaffold" / "tiny-qwen3" / "blueprint.json"
    value = json.loads(file.read_text())
    value["gaps"].append({"subject": "model.layers.*.magic", "reason": "nobody knows what it does"})
    file.write_text(json.dumps(value))
    ran = run("plan", "--blueprint", file, "--out", copy / "elsewhere", "--regenerate", "--json", cwd=copy)
    assert ran.code == 3, ran.err
    assert "model.layers.*.magic" in {gap["subject"] for gap in ran.json["gaps"]}
    assert not (copy / "elsewhere").exists()


def test_another_tree_is_refused_while_the_first_is_applied(first: Ran, model: Path, place: Path) -> None:
    run("plan", "--blueprint", place / ".scaffold" / "tiny-qwen3" / "blueprint.json", "--out", "other", cwd=place)
    ran = run("apply", cwd=place)
    assert ran.code == Refused.exit_code
    assert "undo" in ran.err
    run("plan", "--blueprint", place / ".scaffold" / "tiny-qwen3" / "blueprint.json", cwd=place)
    assert run("apply", cwd=place).code == 0


def test_a_dry_run_shows_the_diff_and_writes_nothing(model: Path, tmp_path: Path) -> None:
    ran = run("new-model", model, "--regenerate", "--dry-run", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("diff --git a/")
    assert files_in(tmp_path) == set()


def test_what_the_target_supports_is_verified_and_not_generated(model: Path, tmp_path: Path) -> None:
    ran = run("new-model", model, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.json["supported_by"].endswith(":Qwen3Bridge")
    assert ran.json["generated"] is False
    assert ran.json["proven"] is True
    assert {name.split("/")[0] for name in files_in(tmp_path)} == {".scaffold"}


def test_a_hub_link_is_pinned_and_ends_like_the_folder(first: Ran, place: Path, tmp_path: Path) -> None:
    """Headers instead of a derived table, over the real client; only the name differs in what is generated."""
    table = json.loads((place / ".scaffold" / "tiny-qwen3" / "inventory.json").read_text())["tensors"]["tensors"]
    weights = safetensors_bytes({row["name"]: (row["dtype"], tuple(row["shape"])) for row in table})
    with LoopbackHub() as hub:
        files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": weights}
        commit = hub.add("org/tiny-qwen3", files)
        link = f"{hub.endpoint}/org/tiny-qwen3/tree/main"
        ran = run("new-model", link, "--regenerate", "--json", cwd=tmp_path, **hub.environment())
    assert ran.code == 0, ran.err
    assert ran.json["proven"] is True
    inventory = json.loads((tmp_path / ".scaffold" / "org--tiny-qwen3" / "inventory.json").read_text())
    assert inventory["source"]["revision"] == commit
    assert inventory["tensors"]["origin"] == "headers"
    assert not any("/resolve/main/" in seen.path for seen in hub.seen)
    ours, theirs = bytes_in(tmp_path / "scaffold_qwen3"), bytes_in(place / "scaffold_qwen3")
    assert ours.keys() == theirs.keys()
    bridge = "scaffold_qwen3/qwen3_bridge.py"
    changed = set(ours[bridge].splitlines()) ^ set(theirs[bridge].splitlines())
    assert all(b"org/tiny-qwen3" in line or b"path/to/model" in line or b"Generated with" in line for line in changed)


def test_undo_gives_the_folder_back(first: Ran, place: Path) -> None:
    assert run("undo", cwd=place).code == 0
    assert not (place / "scaffold_qwen3").exists()
    assert run("undo", cwd=place).code == 2


def test_a_checkout_is_edited_again_without_change_and_undone_byte_for_byte(
    checkout: Path, model: Path, tmp_path: Path
) -> None:
    before = bytes_in(checkout)
    ran = run("new-model", model, "--regenerate", "--repo", checkout, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.json["proven"] is True
    after = bytes_in(checkout)
    assert after != before
    again = run("new-model", model, "--regenerate", "--repo", checkout, "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    assert {file["status"] for file in again.json["files"]} == {"identical"}
    assert bytes_in(checkout) == after
    assert run("update", "--check", cwd=tmp_path).code == 0, "planned without what was generated, as the first time"
    (checkout / "src/megatron/bridge/models/qwen/__init__.py").unlink()
    assert run("update", "--check", cwd=tmp_path).code == 1
    subprocess.run(["git", "checkout", "-q", "src/megatron/bridge/models/qwen/__init__.py"], cwd=checkout, check=True)
    assert run("undo", cwd=tmp_path).code == 0
    assert bytes_in(checkout) == before
    blueprint = tmp_path / ".scaffold" / "tiny-qwen3" / "blueprint.json"
    assert run("plan", "--blueprint", blueprint, "--regenerate", "--repo", checkout, cwd=tmp_path).code == 0
    killed_at_any_moment(checkout, before, after, tmp_path)


def killed_at_any_moment(checkout: Path, before: dict[str, bytes], after: dict[str, bytes], place: Path) -> None:
    """`apply` killed before and after it commits: the checkout is as it was or as planned once anybody looks at it."""
    started = time.monotonic()
    assert run("apply", cwd=place).code == 0
    whole = time.monotonic() - started
    assert bytes_in(checkout) == after
    assert run("undo", cwd=place).code == 0
    moments = KillMoments(0.8 * whole)
    for _ in range(10):
        process = spawn("apply", cwd=place)
        time.sleep(moments.wait())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert run("status", cwd=place).code == 0
        now = bytes_in(checkout)
        assert now in (before, after)
        moments.saw("new" if now == after else "old")
        if now == after:
            assert run("undo", cwd=place).code == 0
            assert bytes_in(checkout) == before
    assert moments.both, moments.outcomes


def test_an_interrupt_while_measuring_leaves_the_checkout_alone(checkout: Path, model: Path, tmp_path: Path) -> None:
    before = bytes_in(checkout)
    process = spawn("new-model", str(model), "--regenerate", "--repo", str(checkout), cwd=tmp_path)
    assert process.stderr is not None
    while "probing" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert out == ""
    assert bytes_in(checkout) == before
