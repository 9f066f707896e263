from megatron.bridge.models.deepseek_v3 import DeepseekV3Bridge, DeepseekV3ModelProvider
from megatron.bridge.models.llama import LlamaBridge


__all__ = ["DeepseekV3Bridge", "DeepseekV3ModelProvider", "LlamaBridge"]
