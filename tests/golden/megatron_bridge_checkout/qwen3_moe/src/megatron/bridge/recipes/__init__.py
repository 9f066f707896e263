"""All."""

from megatron.bridge.recipes.llama import *
from megatron.bridge.recipes.llama.h100 import *
from megatron.bridge.recipes.qwen3_moe import *
from megatron.bridge.recipes.qwen3_moe.h100 import *
