"""A stand-in for Transformer Engine in plain torch: the part that megatron-core's layer specs use.

Constructors, forward signatures, parameter names, shapes and tensor-parallel attributes are the library's, so that
specs and the names that Megatron-Bridge maps are those of a GPU. Forward and backward work. There is no FP8, no fused
operator and no context parallelism: asking for one raises NotImplementedError (or ImportError), never a silently
different result.
"""

__version__ = "2.18.0"  # megatron-core switches features on by version
IS_STANDIN = True

from . import common, pytorch  # noqa: E402 - the version comes first
