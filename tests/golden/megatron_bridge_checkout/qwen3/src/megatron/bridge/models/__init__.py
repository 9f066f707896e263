from megatron.bridge.models.llama import LlamaBridge
from megatron.bridge.models.qwen3 import Qwen3Bridge


__all__ = ["LlamaBridge", "Qwen3Bridge"]
