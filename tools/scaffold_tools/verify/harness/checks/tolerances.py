"""Numbers that decide, each with its reason."""

LOGITS_MAX_ABS = 1e-4
"""fp32, two implementations that add in different order. Upstream's right bridges stay below 3e-5 on these toys. Of
twenty deliberate mistakes all but an eps off by 1e-6 exceeded it; with the toys' eps of 0.01 that one does, too."""

LOGITS_COSINE = 0.99999
"""Smallest cosine over token positions. It catches gross errors only: a rope base off by 1% leaves 0.9999996."""

NOISE_LIMIT = 1e-4
"""fp32 against fp64 of the same Hugging Face model: beyond the tolerance, two right implementations could differ by
more than it allows. Toys measure 2e-6 to 4e-5 (Gemma's norms scale by 1 + weight, which sharpens attention)."""

DEGENERATE_STD = 0.05
"""Below it logits hardly depend on the input, and anything would agree with them."""
