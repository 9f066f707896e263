"""Numbers that decide, each with its reason."""

LOGITS_MAX_ABS = 1e-4
"""fp32, two implementations that add in different order. Upstream's right bridges stay below 3e-5 on these toys. Of
twenty deliberate mistakes all but an eps off by 1e-6 exceeded it; with the toys' eps of 0.01 that one does, too."""

NOISE_FACTOR = 20.0
"""How many times its own noise (fp32 against fp64) a model's logits may differ, below `LOGITS_MAX_ABS`."""

LOGITS_FLOOR = 2e-6
"""Over the standard deviation of the logits: some steps of fp32. Below it nothing is read into a difference."""


def logits_limit(noise: float | None, spread: float) -> float:
    """The tolerance of one toy: small logits, or quiet ones, hide a mistake that the absolute limit would let pass.

    Args:
        noise: largest difference of the toy's logits between fp32 and fp64; None where fp64 does not run.
        spread: their standard deviation.
    """
    if noise is None:
        return min(LOGITS_MAX_ABS, LOGITS_MAX_ABS * spread)
    return min(LOGITS_MAX_ABS, max(NOISE_FACTOR * noise, LOGITS_FLOOR * spread))


GRADIENTS = 1e-3
"""Relative to the largest of a tensor's own gradient: other orders of summation, several processes."""

LOGITS_COSINE = 0.99999
"""Smallest cosine over token positions. It catches gross errors only: a rope base off by 1% leaves 0.9999996."""

NOISE_LIMIT = 1e-4
"""fp32 against fp64 of the same Hugging Face model: beyond the tolerance, two right implementations could differ by
more than it allows. Toys measure 2e-6 to 4e-5 (Gemma's norms scale by 1 + weight, which sharpens attention)."""

DEGENERATE_STD = 0.05
"""Below it logits hardly depend on the input, and anything would agree with them."""
