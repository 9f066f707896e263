"""Where the user's token goes: over https to the HF_ENDPOINT host, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput, Refused
from scaffold_tools.source.hub import Hub
from scaffold_tools.source.read import read_inventory
from support.loopback_hub import LoopbackHub
from support.safetensors_bytes import safetensors_bytes

NAME = "org/model"
TOKEN = "hf_secretsecretsecret"
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors_bytes({"a": ("F32", (1,))})}


def sent(hub: LoopbackHub) -> set[str | None]:
    return {seen.authorization for seen in hub.seen}


def test_a_private_repository_is_read_with_the_token_of_the_environment(
    secure_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure_hub.add(NAME, FILES, private=True, token=TOKEN)
    with pytest.raises(BadInput, match="set HF_TOKEN"):
        read_inventory(NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert read_inventory(NAME).tensors is not None


def test_a_private_repository_is_read_with_the_stored_token(secure_hub: LoopbackHub, tmp_path: Path) -> None:
    secure_hub.add(NAME, FILES, private=True, token=TOKEN)
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home" / "token").write_text(TOKEN)
    assert read_inventory(NAME).tensors is not None


def test_a_gated_repository_with_a_token_that_was_not_let_in(secure_hub: LoopbackHub) -> None:
    secure_hub.add(NAME, FILES, gated=True, token=TOKEN)
    with pytest.raises(BadInput, match="your account has no access") as caught:
        read_inventory(NAME, token="hf_other")
    assert "hf_other" not in str(caught.value)
    assert read_inventory(NAME, token=TOKEN).tensors is not None


def test_a_redirect_to_another_host_drops_the_token(secure_hub: LoopbackHub) -> None:
    secure_hub.add(NAME, FILES)
    read_inventory(NAME, token=TOKEN)
    by_host = {seen.host in secure_hub.cdn: seen.authorization for seen in secure_hub.seen}
    assert by_host == {False: f"Bearer {TOKEN}", True: None}


def test_no_token_is_sent_over_http(loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback_hub.add(NAME, FILES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    read_inventory(NAME, token=TOKEN)
    assert sent(loopback_hub) == {None} and loopback_hub.seen


def test_huggingface_hub_itself_would_have_sent_it(loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    loopback_hub.add(NAME, FILES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    HfApi(endpoint=loopback_hub.endpoint).model_info(NAME)
    assert sent(loopback_hub) == {f"Bearer {TOKEN}"}  # so the test above can fail


def test_a_private_repository_over_http_says_why_the_token_did_not_help(
    loopback_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback_hub.add(NAME, FILES, private=True, token=TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(BadInput, match="no token is sent over http"):
        read_inventory(NAME)


def test_only_an_https_endpoint_is_given_the_token() -> None:
    assert Hub("http://hub.example", token=TOKEN)._token is None
    assert Hub("https://hub.example", token=TOKEN)._token == TOKEN


def test_a_redirect_from_https_to_http_is_refused(secure_hub: LoopbackHub) -> None:
    with LoopbackHub() as plain:
        commit = plain.add(NAME, FILES)
        secure_hub.add(NAME, FILES)
        secure_hub.fail("config.json", redirect=f"{plain.endpoint}/{NAME}/resolve/{commit}/config.json")
        with pytest.raises(Refused, match="unencrypted") as caught:
            read_inventory(NAME, token=TOKEN)
        assert caught.value.exit_code == 4
        assert sent(plain) == {None}


def test_the_users_wish_for_no_implicit_token_is_kept(
    secure_hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    secure_hub.add(NAME, FILES)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    read_inventory(NAME)
    assert sent(secure_hub) == {None}


def test_a_process_of_its_own_with_only_the_environment_set(loopback_hub: LoopbackHub, tmp_path: Path) -> None:
    loopback_hub.add(NAME, FILES)
    code = (
        f"from scaffold_tools.source.read import read_inventory; print(len(read_inventory({NAME!r}).tensors.tensors))"
    )
    environment = loopback_hub.environment(HF_TOKEN=TOKEN, HF_HOME=str(tmp_path))
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert child.stdout.strip() == "1", child.stderr
    assert sent(loopback_hub) == {None}
    assert not any("agent-harnesses" in seen.path or "telemetry" in seen.path for seen in loopback_hub.seen)
