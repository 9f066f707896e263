"""The model called as ROLL's Megatron strategy calls it: a mask of tokens and padding, and no positions."""

from __future__ import annotations

import torch
from checks.logits import padded_batch
from checks.measured import Checks, Clock
from mcore.no_cuda import OnCpu

from mca.load import Loaded
from mca.toy import Toy


def compare_called(toy: Toy, loaded: Loaded, checks: Checks) -> None:
    """A padded batch with what the strategy gives; records `logits.as_called` over real tokens."""
    clock, reference = Clock(), toy.reference
    tokens, mask = padded_batch(reference.tokens)
    try:
        with torch.no_grad():
            expected = reference.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
    except Exception as error:  # a model without padding has nothing to compare
        checks.skip(("logits.as_called",), f"a padded batch does not run: {' '.join(str(error).split())[:200]}")
        return
    with torch.no_grad(), OnCpu():
        found = loaded.model(input_ids=tokens, position_ids=None, attention_mask=mask)
    far = (found[..., : expected.shape[-1]].float() - expected).abs()[mask.bool()]
    largest = float(far.nan_to_num(nan=float("inf")).max())
    value = largest if largest != float("inf") else "not finite"
    passed = largest < reference.limit
    checks.add("logits.as_called", passed, value=value, threshold=reference.limit, seconds=clock.lap())
