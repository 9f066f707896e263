"""What an agent passes names things inside the folders that the user gave, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaffold.toolbox.border import Border
from scaffold_tools.errors import BadInput, Refused, ScaffoldError
from support.runs import planned_run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    model = tmp_path / "root" / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "config.json").write_text('{"password": "x"}')
    return tmp_path


@pytest.fixture
def border(place: Path) -> Border:
    return Border.of(place / "root")


def test_a_local_model_inside_is_found_from_the_root_and_not_from_the_current_folder(
    border: Border, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert border.link("model") == str(place / "root" / "model")
    monkeypatch.chdir(place)
    (place / "org").mkdir()
    (place / "org" / "model").mkdir()
    with pytest.raises(Refused):
        border.link("org/model")  # a folder here, which the root does not have


def test_a_repository_on_the_hub_goes_through(border: Border) -> None:
    assert border.link("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    "link",
    ["../secret", "/etc", "~", "~root/x", "model/../../secret", "\x00", "a\nb", "", " ", "x" * 5000, "file:///etc"],
)
def test_a_path_that_leaves_is_refused(border: Border, link: str) -> None:
    with pytest.raises((Refused, BadInput)):
        border.link(link)


def test_links_out_of_the_border_are_followed_and_refused(border: Border, place: Path) -> None:
    (place / "root" / "out").symlink_to(place / "secret")
    with pytest.raises(Refused, match="outside"):
        border.link("out")
    mixed = place / "root" / "mixed"
    mixed.mkdir()
    (mixed / "config.json").symlink_to(place / "secret" / "config.json")
    with pytest.raises(Refused, match="outside"):
        border.link("mixed")
    assert Border.of(place / "root", models=[place / "secret"]).link("out") == str(place / "secret")


def test_a_run_is_named_and_never_a_path(border: Border, place: Path) -> None:
    planned_run(place / "root")
    planned_run(place / "secret")
    assert border.run("Qwen/Qwen3-8B") == border.run("Qwen--Qwen3-8B") == border.run(None)
    for name in ("../../secret/.scaffold/Qwen--Qwen3-8B", "/etc", str(place / "secret"), "", "\x1b[2J", "y" * 2000):
        with pytest.raises(ScaffoldError):
            border.run(name)


def test_a_run_folder_that_is_a_link_is_refused(border: Border, place: Path) -> None:
    real = planned_run(place / "secret")
    home = place / "root" / ".scaffold"
    home.mkdir()
    (home / "Qwen--Qwen3-8B").symlink_to(real.path)
    with pytest.raises(Refused, match="symbolic link"):
        border.run("Qwen/Qwen3-8B")
    os.unlink(home / "Qwen--Qwen3-8B")
    planned_run(place / "root")
    (home / "Qwen--Qwen3-8B" / "plan.json").unlink()
    (home / "Qwen--Qwen3-8B" / "plan.json").symlink_to(real.file("plan"))
    with pytest.raises(Refused, match=r"plan\.json"):
        border.run("Qwen/Qwen3-8B")


@pytest.mark.parametrize("name", ["..", "a/b", "/tmp/x", "", ".git", "-rf", "a\x00", "é", "x" * 200])
def test_a_package_is_a_name(border: Border, name: str) -> None:
    with pytest.raises(Refused):
        border.out(name)


def test_a_plan_for_another_tree_is_refused(border: Border, place: Path) -> None:
    assert border.tree(str(place / "root" / "pkg")) == place / "root" / "pkg"
    for path in (place / "secret", place / "root", place / "root" / ".." / "secret", Path("/")):
        with pytest.raises(Refused):
            border.tree(str(path))
    with_repo = Border.of(place / "root", repo=place / "secret")
    assert with_repo.tree(str(place / "secret")) == place / "secret"


def test_folders_that_do_not_exist_are_bad_input(place: Path) -> None:
    with pytest.raises(BadInput, match="--models"):
        Border.of(place, models=[place / "none"])
