"""All."""

from megatron.bridge.recipes.llama import *
from megatron.bridge.recipes.llama.h100 import *
from megatron.bridge.recipes.qwen3 import *
from megatron.bridge.recipes.qwen3.h100 import *
