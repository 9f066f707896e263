"""Secrets of this machine and what looks like one do not leave it."""

from __future__ import annotations

import pytest

from scaffold.agent.redact import GONE, Redactor

SHAPED = [
    "sk-ant-api03-abcdefgh12345678",
    "hf_" + "aB3" * 10,
    "ghp_" + "a1B2" * 9,
    "AKIAIOSFODNN7EXAMPLE",
    "Bearer abcdefghij0123456789",
    "https://user:pass1234@host/x",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SHAPED)
def test_what_looks_like_a_secret_is_taken_out(secret: str) -> None:
    found = Redactor().text(f"before {secret} after")
    assert GONE in found
    assert secret not in found
    assert "before" in found


def test_values_of_secret_variables_are_taken_out_whatever_they_look_like() -> None:
    environ = {"MY_API_KEY": "correct horse", "DB_PASSWORD": "battery99", "TOKEN_FILE": "/run/token", "KEY": "short"}
    redactor = Redactor.of_environment({**environ, "HOME": "/root/home", "MAX_TOKENS": "123456789"})
    assert redactor.text("correct horse and battery99") == f"{GONE} and {GONE}"
    for harmless in ("/run/token", "short", "/root/home", "123456789"):
        assert redactor.text(harmless) == harmless


def test_values_are_taken_out_of_nested_json() -> None:
    found = Redactor(("hushhush",)).value({"a": ["x hushhush"], "hushhush": {"b": 1}})
    assert found == {"a": [f"x {GONE}"], GONE: {"b": 1}}


def test_code_and_figures_stay_as_they_are() -> None:
    text = "hf_config.hidden_size # sk- token_ids = 1e-4; https://huggingface.co/a/b; self.key_projection"
    assert Redactor().text(text) == text
    assert "secret" not in repr(Redactor(("secret-value",)))
