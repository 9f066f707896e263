"""A stand-in for the functions of flash-linear-attention that megatron-core's gated delta net uses, in plain torch."""

__version__ = "0.4.0"
IS_STANDIN = True
