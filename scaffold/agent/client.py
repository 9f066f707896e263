"""The client of the Anthropic API, and what a model can do: asked, not known by its name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import anthropic

from scaffold_tools.errors import BadInput, EnvironmentLacks

DEFAULT_MODEL = "claude-opus-5-5"
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
MAX_TOKENS = 32_000
CLEAR_AT = 120_000
"""Input tokens from which old results of tools are cleared."""
KEEP = 8
"""Results that stay."""


@dataclass(frozen=True)
class Model:
    """A model, and the options that it takes."""

    name: str
    max_tokens: int = MAX_TOKENS
    options: dict[str, Any] = field(default_factory=dict)


def check_key() -> None:
    """Say at once what would otherwise fail after minutes.

    Raises:
        EnvironmentLacks: no key.
    """
    if not any(os.environ.get(name) for name in KEYS):
        raise EnvironmentLacks("there is no key for the Anthropic API", hint="export ANTHROPIC_API_KEY=...")


def make_client() -> anthropic.Anthropic:
    """A client that tries again when it is told to wait, or when the API is busy."""
    return anthropic.Anthropic(max_retries=6, timeout=anthropic.Timeout(600, connect=10))


def ask_model(client: anthropic.Anthropic, name: str) -> Model:
    """What the API says that a model can do; the plain minimum where it does not say.

    Raises:
        BadInput: there is no such model. EnvironmentLacks: the key is not accepted.
    """
    try:
        info = client.models.retrieve(name)
    except anthropic.NotFoundError as error:
        raise BadInput(f"the API has no model {name!r}", hint="choose another with --model") from error
    except (anthropic.AuthenticationError, anthropic.PermissionDeniedError) as error:
        raise EnvironmentLacks("the API does not accept the key", hint=f"check {KEYS[0]}") from error
    except anthropic.APIError:
        return Model(name)
    options: dict[str, Any] = {}
    able = info.capabilities
    if able is not None and able.thinking.types.adaptive.supported:
        options["thinking"] = {"type": "adaptive"}
    clearing = None if able is None else able.context_management.clear_tool_uses_20250919
    if clearing is not None and clearing.supported:
        options["betas"] = ["context-management-2025-06-27"]
        options["context_management"] = {
            "edits": [
                {
                    "type": "clear_tool_uses_20250919",
                    "trigger": {"type": "input_tokens", "value": CLEAR_AT},
                    "keep": {"type": "tool_uses", "value": KEEP},
                    "clear_at_least": {"type": "input_tokens", "value": CLEAR_AT // 6},
                }
            ]
        }
    return Model(name, min(MAX_TOKENS, info.max_tokens or MAX_TOKENS), options)
