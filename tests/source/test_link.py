from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.source.link import check_endpoint, hub_endpoint, parse_link

HUB = "https://huggingface.co"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None),
        ("https://huggingface.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None),
        ("https://huggingface.co/Qwen/Qwen3-8B/", "Qwen/Qwen3-8B", None),
        ("https://hf.co/Qwen/Qwen3-8B?not-for-all-audiences=true#top", "Qwen/Qwen3-8B", None),
        ("huggingface.co/Qwen/Qwen3-8B", "Qwen/Qwen3-8B", None),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/main", "Qwen/Qwen3-8B", "main"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/refs%2Fpr%2F3", "Qwen/Qwen3-8B", "refs/pr/3"),
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/refs/pr/3", "Qwen/Qwen3-8B", "refs/pr/3"),
        ("https://huggingface.co/Qwen/Qwen3-8B/blob/v1.0/config.json", "Qwen/Qwen3-8B", "v1.0"),
        ("https://huggingface.co/Qwen/Qwen3-8B/resolve/main/config.json?download=true", "Qwen/Qwen3-8B", "main"),
        ("https://huggingface.co/Qwen/Qwen3-8B/discussions", "Qwen/Qwen3-8B", None),
    ],
)
def test_every_way_to_write_a_repository(text: str, name: str, revision: str | None) -> None:
    link = parse_link(text)
    assert (link.kind, link.name, link.revision, link.endpoint) == ("hub", name, revision, HUB)


def test_a_local_folder_wins_over_a_repository_of_the_same_spelling(tmp_path: Path) -> None:
    assert parse_link("Qwen/Qwen3-8B").kind == "hub"
    (tmp_path / "Qwen" / "Qwen3-8B").mkdir(parents=True)
    link = parse_link("Qwen/Qwen3-8B")
    assert (link.kind, link.name) == ("folder", "Qwen3-8B")


def test_a_config_file_is_named_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    (tmp_path / "my model" / "config.json").write_text("{}")
    (tmp_path / "tiny.json").write_text("{}")
    assert parse_link("my model/config.json").name == "my-model"
    assert parse_link("tiny.json").name == "tiny"
    assert parse_link(str(tmp_path / "tiny.json")).kind == "config"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("a/b\n", "control characters"),
        ("a/b\x1b[2J", "control characters"),
        ("a/b\u202eneerts", "control characters"),
        ("x" * 5000, "too long"),
        ("../../x", "neither"),
        ("no-such-thing", "neither"),
        ("a/b/c", "neither"),
        ("a/..", "neither"),
        ("a/b--c", "neither"),
        ("https://huggingface.co/../../etc/passwd", "does not name a repository"),
        ("https://huggingface.co/a", "does not name a repository"),
        ("https://huggingface.co/datasets/a/b", "not a model"),
        ("https://huggingface.co/a/b/tree/main/sub", "a folder inside a repository"),
        ("https://huggingface.co/a/b/tree/..%2F..%2Fx", "cannot be one"),
        ("https://huggingface.co/a/b/tree/a%00b", "cannot be one"),
        ("https://evil.example/a/b", "not the hub"),
        ("https://huggingface.co.evil.example/a/b", "not the hub"),
        ("https://huggingface.co:8443/a/b", "not the hub"),
        ("https://huggingface.co@evil.example/a/b", "credentials"),
        ("https://huggingface.co\\@evil.example/a/b", "credentials"),
        ("https://huggingface.co:x/a/b", "not a URL"),
        ("https://[/a/b", "not a URL"),
        ("file:///etc/passwd", "not an http"),
        ("ftp://huggingface.co/a/b", "not an http"),
    ],
)
def test_a_hostile_or_mistyped_link_is_one_clear_line(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as caught:
        parse_link(text)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_a_password_in_a_link_is_not_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        parse_link("https://me:hunter2@huggingface.co/a/b")
    assert "hunter2" not in str(caught.value)


def test_an_endpoint_of_ones_own_is_used_for_names_and_for_links_to_the_public_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8443/hf/")
    mirror = "https://mirror.example:8443/hf"
    assert parse_link("a/b").endpoint == mirror
    assert parse_link("https://huggingface.co/a/b").endpoint == mirror
    link = parse_link("https://mirror.example:8443/hf/a/b/tree/main")
    assert (link.name, link.revision, link.endpoint) == ("a/b", "main", mirror)
    with pytest.raises(BadInput, match="not the hub"):
        parse_link("https://mirror.example/hf/a/b")


@pytest.mark.parametrize(
    "endpoint", ["ftp://x", "mirror.example", "https://u:p@x", "https://x?y", "https://", "http://[", ""]
)
def test_an_endpoint_that_is_no_plain_address_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput):
        check_endpoint(endpoint)
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert hub_endpoint() == HUB


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "weights.bin").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.json")
    for text, complaint in [
        ("model.gguf", "GGUF"),
        ("weights.bin", "no config.json"),
        ("pipe.json", "no config.json"),
    ]:
        with pytest.raises(BadInput, match=complaint):
            parse_link(text)


def test_a_path_that_the_system_refuses_is_bad_input() -> None:
    with pytest.raises(BadInput):
        parse_link("a" * 300 + "/b")
    with pytest.raises(BadInput):
        parse_link("~no-such-user-here/x")
