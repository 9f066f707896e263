"""A stand-in for the mamba_ssm kernels that megatron-core's state space layers use: a scan in plain torch."""

__version__ = "2.2.6"
IS_STANDIN = True
