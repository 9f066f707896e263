"""Fused router kernels; providers switch `moe_router_fusion` off on a CPU."""


def _refuse(*args, **kwargs):
    raise NotImplementedError("the stand-in has no fused router (moe_router_fusion=False)")


fused_topk_with_score_function = _refuse
fused_compute_score_for_moe_aux_loss = _refuse
fused_moe_aux_loss = _refuse
