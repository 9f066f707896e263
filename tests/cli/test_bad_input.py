"""Whatever is given: one clear line, the right exit code, nothing written, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.loopback_hub import LoopbackHub

from .conftest import Scaffold, files_in

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 128,
}


def config(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(text, encoding="utf-8") and None


def changed(**values: Any) -> Callable[[Path], None]:
    return config(json.dumps({**LLAMA, **values}))


def one_gigabyte(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.write(b'{"architectures": ["LlamaForCausalLM"], "x": "')
        file.truncate(1 << 30)


def only_gguf(folder: Path) -> None:
    (folder / "model-q4.gguf").write_bytes(b"GGUF")


CASES: tuple[tuple[str, Callable[[Path], None], str], ...] = (
    ("no config.json", lambda folder: (folder / "README.md").write_text("hello") and None, "config.json"),
    ("empty folder", lambda folder: None, "is empty"),
    ("not JSON", config("{not json"), "JSON"),
    ("an empty file", config(""), "JSON"),
    ("JSON, but a list", config("[1, 2]"), "config.json"),
    ("not UTF-8", lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00") and None, "config.json"),
    ("1 GB of JSON", one_gigabyte, "bytes"),
    ("nested 10,000 deep", config('{"a":' * 10_000 + "1" + "}" * 10_000), "nest"),
    ("a list nested 10,000 deep", config('{"a":' + "[" * 10_000 + "]" * 10_000 + "}"), "nest"),
    ("a model_type that is code", changed(model_type='"; import os #'), "model_type"),
    ("a model_type with a line break", changed(model_type="llama\nimport os"), "model_type"),
    ("an architecture that is code", changed(architectures=["X:\n  import os"]), "architecture"),
    (
        "an encoder-decoder",
        changed(architectures=["T5ForConditionalGeneration"], model_type="t5", is_encoder_decoder=True),
        "encoder",
    ),
    ("GGUF only", only_gguf, "GGUF"),
)


@pytest.mark.parametrize("command", ["new-model", "inspect", "plan"])
@pytest.mark.parametrize(("name", "make", "says"), CASES, ids=[case[0] for case in CASES])
def test_bad_input_is_one_line_and_exit_code_2(
    scaffold: Scaffold, tmp_path: Path, command: str, name: str, make: Callable[[Path], None], says: str
) -> None:
    if command == "inspect" and name == "an encoder-decoder":
        pytest.skip("inspect describes any kind of model")
    model = tmp_path / "model"
    model.mkdir()
    make(model)
    ran = scaffold(command, model)
    assert ran.code == 2, ran.err
    assert says.lower() in ran.err.lower()
    assert len(ran.error()) < 700
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert files_in(tmp_path / "work") == set()


@pytest.mark.parametrize("link", ["no/such-repo", "not a link", "https://example.com/a/b", "../../etc", "", "a/b/c/d"])
def test_links_that_lead_nowhere(scaffold: Scaffold, loopback_hub: LoopbackHub, tmp_path: Path, link: str) -> None:
    ran = scaffold("new-model", link)
    assert ran.code == 2, ran.err
    assert ran.error()
    assert ran.out == ""
    assert files_in(tmp_path / "work") == set()


def test_an_unreachable_hub_is_the_environments_fault(
    scaffold: Scaffold, loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback_hub.add("org/model", {"config.json": b"{}"})
    loopback_hub.fail("", times=1000, status=503)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert scaffold("inspect", "org/model").code == 5


def test_usage_errors_are_exit_code_2(scaffold: Scaffold, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    changed()(model)
    for args, says in (
        ((), "Missing"),
        (("--bogus",), "bogus"),
        ((model, "--target", "nothing"), "target"),
        ((model, "--lane", "gpu"), "lane"),
        ((model, "--repo", tmp_path / "absent"), "--repo"),
        ((model, "--repo", tmp_path, "--out", tmp_path), "--out"),
        ((model, "--repo", model), "Megatron-Bridge"),
    ):
        ran = scaffold("new-model", *args)
        assert ran.code == 2, (args, ran.err)
        assert says in ran.error()
        assert ran.out == ""
    assert files_in(tmp_path / "work") == set()


@pytest.mark.parametrize("args", [(), ("skills",)])
def test_a_command_without_its_command_shows_its_help(scaffold: Scaffold, args: tuple[str, ...]) -> None:
    ran = scaffold(*args)
    assert ran.code == 2
    assert ran.err.startswith("Usage: scaffold")
    assert "Commands:\n" in ran.err
    assert "error:" not in ran.err


def test_json_errors_are_one_object_too(scaffold: Scaffold, tmp_path: Path) -> None:
    ran = scaffold("new-model", tmp_path / "absent", "--json")
    assert ran.code == ran.json["exit_code"] == 2
    assert ran.json["error"] in ran.error()


@pytest.mark.parametrize("command", ["diff", "apply", "undo", "status", "verify", "checklist"])
def test_commands_on_a_run_say_that_there_is_none(scaffold: Scaffold, tmp_path: Path, command: str) -> None:
    for args in ((), ("absent",), ("../../etc",)):
        ran = scaffold(command, *args)
        assert ran.code == 2
        assert "run folder" in ran.error()
    assert files_in(tmp_path / "work") == set()
