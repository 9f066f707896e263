EXPECTED_REGISTRATIONS = {
    "GLMForCausalLM": "megatron.bridge.models.glm.glm_bridge.GLMBridge",
    "Qwen3ForCausalLM": "megatron.bridge.models.qwen3.qwen3_bridge.Qwen3Bridge",
}

STRING_REGISTRATIONS = {
    "GLMForCausalLM",
}
