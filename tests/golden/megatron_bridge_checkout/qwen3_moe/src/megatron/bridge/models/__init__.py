from megatron.bridge.models.llama import LlamaBridge
from megatron.bridge.models.qwen3_moe import Qwen3MoeBridge


__all__ = ["LlamaBridge", "Qwen3MoeBridge"]
