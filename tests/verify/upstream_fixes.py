"""What upstream's integrations get wrong, as the line that makes it right; parity after it proves the cause."""

from __future__ import annotations

from upstream_source import Fix, fewest, write_fixes  # noqa: F401

ROPE = "the rope is not the config's: its type, its numbers or its base"
EPSILON = "a norm gets another epsilon than in transformers"
LAYERS = "which layers have a window, or no rope, is not read from the config"
HEAD = "whether embedding and head are one matrix is not read from the config"
ROUTER = "the weights of the experts are scored or normalised otherwise"
BIAS = "attention has other biases than attention_bias says"
WIDTH = "a weight has another width than in the checkpoint"
NAMES = "a key of the publisher's own config is taken for granted, or one without effect refused, and it stops"
HERE = "no defect of the bridge: the toy's shape, or what only this transformers' class writes or ignores"
GROUPS = (ROPE, EPSILON, LAYERS, HEAD, ROUTER, BIAS, WIDTH, NAMES, HERE)
"""What went wrong, from the most silent to what is no mistake."""
LATENT = ("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa")
FIXES: tuple[Fix, ...] = (
    Fix(
        ("gemma2", "gemma3_text", "exaone4"),
        "the norms after attention and MLP get the model's epsilon",
        EPSILON,
        "after_build(provider, lambda name, part: name.endswith('post_layernorm')"
        " and setattr(part, 'eps', config.rms_norm_eps))",
    ),
    Fix(
        LATENT,
        "the norms on the latents keep the epsilon of their class, 1e-6",
        EPSILON,
        "after_build(provider, lambda name, part: name.endswith(('linear_q_up_proj', 'linear_kv_up_proj',"
        " 'q_layernorm', 'kv_layernorm')) and setattr(part, 'eps', 1e-6))",
    ),
    Fix(
        ("glm4_moe",),
        "the shared expert is as wide as all shared experts together",
        WIDTH,
        "provider.moe_shared_expert_intermediate_size = config.moe_intermediate_size * config.n_shared_experts",
    ),
    Fix(
        (),
        "the rope type of the config is applied, with its own numbers",
        ROPE,
        "after_build(provider, lambda name, part: hasattr(part, 'inv_freq')"
        " and setattr(part, 'inv_freq', frequencies(config)))",
        variants=("rope-llama3-unusual",),
        but=("gemma3_text", "gemma4_text"),
    ),
    Fix(
        ("gemma3_text", "gemma4_text"),
        "the rope type of each kind of layers is applied, with its own numbers",
        ROPE,
        "after_build(provider, lambda name, part: name.endswith(('rope_local', 'rope_sliding'))"
        " and setattr(part, 'inv_freq', frequencies(config, 'sliding_attention')))",
        variants=("rope-llama3-unusual",),
    ),
    Fix(
        LATENT,
        "a rope that is not YaRN is not computed as YaRN",
        ROPE,
        "provider.rope_type, provider.rotary_scaling_factor = 'rope', 1.0",
        variants=("rope-llama3-unusual",),
    ),
    Fix(
        ("gpt_oss",),
        "YaRN is for configs that say so",
        ROPE,
        "provider.position_embedding_type, provider.yarn_rotary_scaling_factor = 'rope', 1.0",
        variants=("rope-llama3-unusual",),
    ),
    Fix(
        (),
        "embedding and head are one matrix where the config says so",
        HEAD,
        "provider.share_embeddings_and_output_weights = True",
        variants=("tie_word_embeddings=true",),
        but=("nemotron_h",),
    ),
    Fix(
        (),
        "the head is a matrix of its own where the config says so, and is mapped",
        HEAD,
        "provider.share_embeddings_and_output_weights = False",
        "mappings.append(AutoMapping(megatron_param='output_layer.weight', hf_param='lm_head.weight'))",
        variants=("tie_word_embeddings=false",),
    ),
    Fix(
        ("exaone4",),
        "the head is mapped",
        HEAD,
        mappings="mappings.append(AutoMapping(megatron_param='output_layer.weight', hf_param='lm_head.weight'))",
        variants=("base", "rope-llama3-unusual", "windows-periodic", "heads-gqa"),
    ),
    Fix(
        ("exaone4",),
        "layers without a window have no rope",
        LAYERS,
        "provider.no_rope_freq = [int(kind != 'sliding_attention') for kind in config.layer_types]",
    ),
    Fix(
        ("qwen2", "qwen3", "exaone4", "gpt_oss"),
        "the window is on the layers that layer_types names",
        LAYERS,
        "provider.window_size, provider.window_attn_skip_freq = (config.sliding_window - 1, 0),"
        " [int(kind == 'sliding_attention') for kind in config.layer_types]",
    ),
    Fix(
        ("gemma2",),
        "the window is on the layers that layer_types names, not on every other one",
        LAYERS,
        "after_build(provider, lambda name, part: name.endswith('core_attention') and part.__init__(part.config,"
        " 1 + (config.layer_types[part.layer_number - 1] == 'full_attention'), causal, part.attention_type))",
        variants=("windows-periodic",),
    ),
    Fix(
        ("gemma3_text",),
        "the window is on the layers that layer_types names, not on five of six",
        LAYERS,
        "provider.interleaved_attn_pattern = (config.layer_types.index('full_attention'), 1)",
        variants=("windows-periodic",),
    ),
    Fix(
        ("gpt_oss",),
        "the numbers of YaRN are those of the config",
        ROPE,
        "[setattr(provider, f'yarn_{ours}', config.rope_parameters[key]) for ours, key in (('rotary_scaling_factor',"
        " 'factor'), ('original_max_position_embeddings',) * 2, ('beta_fast',) * 2, ('beta_slow',) * 2)]",
        but=("rope-llama3-unusual",),
    ),
    Fix(
        ("olmoe", "qwen3_next", "qwen3_moe", "qwen3_5_moe_text"),
        "the weights of the chosen experts are normalised where norm_topk_prob says so",
        ROUTER,
        "provider.moe_router_pre_softmax = not config.norm_topk_prob",
        variants=("norm_topk_prob=true", "norm_topk_prob=false"),
    ),
    Fix(
        (*LATENT, "exaone_moe", "glm4_moe", "hy_v3", "nemotron_h"),
        "the weights of the chosen experts are normalised only where norm_topk_prob says so",
        ROUTER,
        "after_build(provider, lambda name, part: name.endswith('.router') and unnormalised(part))",
        variants=("norm_topk_prob=false",),
    ),
    Fix(
        (),
        "queries, keys, values and output have biases where attention_bias says so",
        BIAS,
        "provider.add_qkv_bias = True\n        after_build(provider, lambda name, part:"
        " name.endswith('self_attention.linear_proj') and with_bias(part))",
        "mappings += biases(mappings)",
        variants=("attention_bias=true",),
        but=(*LATENT, "deepseek_v4", "nemotron_h"),
    ),
    Fix(
        LATENT,
        "the projections to the latents and of the output have biases where attention_bias says so",
        BIAS,
        "after_build(provider, lambda name, part: name.endswith(tuple(LATENT_BIASES)) and with_bias(part))",
        "mappings += [AutoMapping(megatron_param=f'decoder.layers.*.self_attention.{ours}.bias',"
        " hf_param=f'model.layers.*.self_attn.{theirs}.bias') for ours, theirs in LATENT_BIASES.items()]",
        variants=("attention_bias=true",),
    ),
    Fix(
        ("gpt_oss",),
        "queries, keys, values and output have no biases where attention_bias says so",
        BIAS,
        "after_build(provider, lambda name, part: name.endswith(('self_attention.linear_qkv',"
        " 'self_attention.linear_proj')) and without_bias(part))",
        variants=("attention_bias=false",),
    ),
    Fix(
        ("olmoe",),
        "the norm of the keys is as wide as the keys",
        WIDTH,
        "after_build(provider, lambda name, part: name.endswith('k_layernorm') and setattr(part, 'weight',"
        " torch.nn.Parameter(torch.ones(provider.num_query_groups * provider.kv_channels))))",
        variants=("heads-gqa",),
    ),
    Fix(
        ("ernie4_5_moe",),
        "the base of the rotary embedding is that of the config",
        ROPE,
        "provider.rotary_base = config.rope_parameters['rope_theta']",
    ),
    Fix(
        ("ernie4_5_moe",),
        "the router scores by softmax, not by sigmoid",
        ROUTER,
        "after_build(provider, lambda name, part: name.endswith('router')"
        " and setattr(part, 'gating', lambda x, gate=part.gating: torch.logit(gate(x).softmax(-1))))",
    ),
    Fix(
        ("nemotron_h",),
        "the embedding has the name that this transformers writes",
        HERE,
        mappings="[setattr(one, 'hf_param', one.hf_param.replace('backbone.embeddings.', 'backbone.embedding.'))"
        " for one in mappings if isinstance(one.hf_param, str)]",
    ),
    Fix(
        ("hy_v3", "glm_moe_dsa"),
        "the number of dense layers comes from mlp_layer_types, as in transformers' config",
        NAMES,
        before="config.first_k_dense_replace = config.mlp_layer_types.count('dense')",
        unless="first_k_dense_replace",
    ),
    Fix(
        ("glm_moe_dsa",),
        "a key is read that transformers' config does not have; its indexer rotates by halves",
        NAMES,
        before="config.indexer_rope_interleave = False",
        unless="indexer_rope_interleave",
    ),
    Fix(
        ("gemma4_text",),
        "the norm of the values gets the model's epsilon",
        EPSILON,
        "after_build(provider, lambda name, part: hasattr(part, '_v_norm') and setattr(part, '_v_norm', lambda value:"
        " torch.nn.functional.rms_norm(value, value.shape[-1:], eps=config.rms_norm_eps)))",
    ),
    Fix(
        ("nemotron_h",),
        "attention has no biases: transformers' class does not read attention_bias",
        HERE,
        "provider.add_qkv_bias = False",
        variants=("attention_bias=true",),
    ),
    Fix(
        ("nemotron_h",),
        "embedding and head stay two matrices, as transformers' class keeps them",
        HERE,
        "provider.share_embeddings_and_output_weights = False",
        variants=("tie_word_embeddings=true",),
    ),
    Fix(
        ("nemotron_h",),
        "the norm of the mixer gets the model's epsilon",
        EPSILON,
        "after_build(provider, lambda name, part: name.endswith('mixer.norm')"
        " and setattr(part, 'eps', provider.layernorm_epsilon))",
    ),
    Fix(
        ("minimax_m2",),
        "whole heads are rotated: transformers' class does not read rotary_dim",
        HERE,
        "provider.rotary_percent = 1.0",
    ),
    Fix(
        ("falcon_h1",),
        "where no norm is before or after the gate, its place is not asked",
        NAMES,
        "provider.norm_before_gate = provider.norm_before_gate and provider.rmsnorm",
    ),
    Fix(
        ("deepseek_v4",),
        "a rope that is not YaRN has no factor",
        NAMES,
        before="config.rope_parameters['compress'].update(factor=1.0, original_max_position_embeddings=4096)",
    ),
    Fix(
        ("gemma4_text",),
        "the vocabulary is not padded beyond what the checkpoint has",
        HERE,
        "provider.make_vocab_size_divisible_by = 1",
    ),
)


NOTES: tuple[tuple[str, str], ...] = (
    (
        "nemotron_h",
        "transformers 5.12.1 saves the embedding as `backbone.embedding` and reads `backbone.embeddings` too, which"
        " the bridge maps: that the tensor is never read is not the bridge's doing. Its class ignores attention_bias"
        " and tie_word_embeddings, which the bridge follows.",
    ),
    (
        "gemma4_text",
        "The bridge pads the vocabulary to a multiple of 256, which the toy's is not and published ones are: the shape"
        " is the toy's doing. The epsilon of the values is not.",
    ),
    (
        "hy_v3",
        "The bridge reads `first_k_dense_replace` of the publisher's own config class; transformers' class says the"
        " same in `mlp_layer_types`.",
    ),
    (
        "glm_moe_dsa",
        "The bridge reads `indexer_rope_interleave` and `first_k_dense_replace`; transformers' class does not have the"
        " first, and its code goes by `mlp_layer_types`. GLM-5's own config says that the indexer rotates interleaved,"
        " and transformers rotates halves: they disagree, and which of them is right is for its publisher to say.",
    ),
    (
        "deepseek_v4",
        "Open, and not for this machine's sake. The bridge takes YaRN for granted, which transformers' default config"
        " does not have; given a factor of one it stops at `dsv4_hybrid`, an attention that neither megatron-core"
        " 0.19.2 nor the Megatron-LM that main pins can build, nor its main branch of 2026-08-22. On the dev branch of"
        " 2026-08-21 (d48bd6be) it is built, and then asks for tensors by the names of the publisher's own files"
        " (`embed.weight`, `layers.0.hc_ffn_scale`), which transformers' class does not write: that takes another"
        " mapping, not a line or two. Nothing can be said of its numbers.",
    ),
    (
        "minimax_m2",
        "MiniMax-M2.5 rotates half of each head by `rotary_dim`, which the bridge follows and transformers 5.12.1 does"
        " not read: the difference on that model is not the bridge's.",
    ),
    (
        "falcon_h1",
        "megatron-core's Mamba mixer refuses a norm before the gate, which transformers' default config asks for and"
        " its code then does not build.",
    ),
    (
        "ernie4_5_moe",
        "megatron-core has the bias of experts with sigmoid scores alone, so the bridge cannot ask for softmax: the"
        " fix gives the router logits whose sigmoid is that softmax.",
    ),
    (
        "exaone4",
        "The bridge says of itself that layers with windows are for later; transformers' default config has them.",
    ),
)
"""What a reader has to know about a type before blaming its bridge."""
