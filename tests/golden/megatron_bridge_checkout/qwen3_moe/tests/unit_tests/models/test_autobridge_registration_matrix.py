EXPECTED_REGISTRATIONS = {
    "GLMForCausalLM": "megatron.bridge.models.glm.glm_bridge.GLMBridge",
    "Qwen3MoeForCausalLM": "megatron.bridge.models.qwen3_moe.qwen3_moe_bridge.Qwen3MoeBridge",
}

STRING_REGISTRATIONS = {
    "GLMForCausalLM",
}
