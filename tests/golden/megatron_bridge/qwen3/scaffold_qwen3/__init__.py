# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Qwen3 for Megatron Bridge: importing this package registers the bridge with AutoBridge."""

# Bridges of Megatron Bridge register when this is imported; ours has to come after them to be the one that is picked.
from megatron.bridge import AutoBridge
from megatron.bridge.models.conversion.model_bridge import get_model_bridge
from megatron.bridge.utils.instantiate_utils import register_allowed_target_prefix


def _registered() -> str | None:
    """Return `module:Class` of the bridge that AutoBridge has for Qwen3ForCausalLM now."""
    if "Qwen3ForCausalLM" not in AutoBridge.list_supported_models():
        return None
    bridge = type(get_model_bridge("Qwen3ForCausalLM"))
    return f"{bridge.__module__}:{bridge.__name__}"


REPLACED = _registered()
"""The bridge that this package takes the place of, or None."""

from scaffold_qwen3.qwen3_bridge import Qwen3Bridge  # noqa: E402


# A saved checkpoint names the classes of its model; those of packages that nobody vouched for are not loaded.
register_allowed_target_prefix("scaffold_qwen3.")


__all__ = ["REPLACED", "Qwen3Bridge"]
