EXPECTED_REGISTRATIONS = {
    "DeepseekV3ForCausalLM": "megatron.bridge.models.deepseek_v3.deepseek_v3_bridge.DeepseekV3Bridge",
    "GLMForCausalLM": "megatron.bridge.models.glm.glm_bridge.GLMBridge",
}

STRING_REGISTRATIONS = {
    "GLMForCausalLM",
}
