"""All."""

from megatron.bridge.recipes.deepseek_v3 import *
from megatron.bridge.recipes.deepseek_v3.h100 import *
from megatron.bridge.recipes.llama import *
from megatron.bridge.recipes.llama.h100 import *
