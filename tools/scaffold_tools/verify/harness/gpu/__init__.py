"""The lane on GPUs: processes that torchrun starts, in bfloat16, with Transformer Engine where it is installed."""
