"""What the layers are made of: experts, latent attention, state-space and other mixers, extra prediction layers."""

from __future__ import annotations

from collections.abc import Callable

from scaffold_tools.classify.claims import Claim, Disagreement, Rule, gather, weigh
from scaffold_tools.classify.evidence import Evidence
from scaffold_tools.classify.keys import find
from scaffold_tools.classify.signals import Signals
from scaffold_tools.classify.values import as_int, clean, index_ranges, short

LABEL_KEYS = ("layer_types", "layers_block_type", "block_types", "attention_types")
MIXERS = ("ssm", "linear-attention", "convolution", "recurrence")
STRUCTURE = ("moe", "mla", "sparse-attention", "mtp")
_SWITCHES = ("enable_moe_block", "is_moe", "use_moe")


def layer_labels(signals: Signals) -> dict[str, str]:
    """`label -> key that has it` over all per-layer lists of names (and the letters of a hybrid pattern)."""
    labels: dict[str, str] = {}
    for key in LABEL_KEYS:
        value = signals.text.get(key)
        for item in value[:10_000] if isinstance(value, list) else ():
            if isinstance(item, str):
                labels.setdefault(clean(item, 40), key)
    pattern = find(signals.text, "hybrid_override_pattern")
    if pattern and isinstance(pattern[1], str):
        for letter in sorted(set(pattern[1][:10_000])):
            labels.setdefault(letter, pattern[0])
    return labels


def _key(*names: str) -> Callable[[Signals], str | None]:
    """A sign: one of these keys has a value other than null, false, 0 or empty."""

    def detect(signals: Signals) -> str | None:
        found = signals.has(*names)
        return f"{found[0]} = {short(found[1])}" if found else None

    return detect


def _keys(*names: str) -> Callable[[Signals], str | None]:
    """A sign: all of these keys have such a value."""

    def detect(signals: Signals) -> str | None:
        found = [signals.has(name) for name in names]
        return ", ".join(f"{item[0]} = {short(item[1])}" for item in found if item) if all(found) else None

    return detect


def _label(*wanted: str) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        labels = layer_labels(signals)
        label = next((item for item in wanted if item in labels), None)
        return f'{labels[label]} has "{label}"' if label else None

    return detect


def _tensor(expression: str) -> Callable[[Signals], str | None]:
    def detect(signals: Signals) -> str | None:
        pattern = signals.first(expression)
        return told(pattern.name, pattern.layers) if pattern else None

    return detect


def told(name: str, layers: frozenset[int]) -> str:
    """A tensor pattern as evidence, with the layers that have it."""
    return clean(name, 100) + (f" in layers {index_ranges(layers)}" if layers else "")


def _experts(signals: Signals) -> str | None:
    if any(signals.text.get(switch) is False for switch in _SWITCHES):
        return None
    found = find(signals.text, "num_experts")
    count = found[1] if found else None
    if isinstance(count, list):
        count = max((item for item in count if as_int(item) is not None), default=None)
    number = as_int(count)
    return f"{found[0]} = {short(found[1])}" if found and number is not None and number > 1 else None


def _linear_types(signals: Signals) -> str | None:
    types = signals.text.get("attn_type_list")
    return "attn_type_list has 0" if isinstance(types, list) and 0 in types[:10_000] else None


def _scan(with_skip: bool) -> Callable[[Signals], str | None]:
    """A decay `A_log`: beside a skip weight `D` it is a state-space mixer, without one it is a delta rule."""

    def detect(signals: Signals) -> str | None:
        skips = {pattern.name.removesuffix(".D") for pattern in signals.matching(r"\.D$")}
        for pattern in signals.matching(r"\.A_log$"):
            if (pattern.name.removesuffix(".A_log") in skips) == with_skip:
                return told(pattern.name, pattern.layers)
        return None

    return detect


def _beyond_last(signals: Signals) -> str | None:
    depth = signals.num_layers
    if depth is None:
        return None
    for pattern in signals.matching(r"(^|\.)layers\.\*\..*(eh_proj|enorm|hnorm|embed_tokens|shared_head)"):
        if any(index >= depth for index in pattern.layers):
            return told(pattern.name, pattern.layers)
    return None


def _attention_keys(signals: Signals) -> str | None:
    found = signals.has("num_attention_heads")
    if found is None or (found[0] == "num_heads" and _any_mixer_key(signals)):
        return None
    labels = layer_labels(signals)
    listed = [label for label in labels if label in _SOFTMAX_LABELS or label.endswith("attention")]
    listed = [label for label in listed if label != "linear_attention"]
    if labels and not listed and set(labels) & _MIXER_LABELS:
        return None
    return f'{labels[listed[0]]} has "{listed[0]}"' if listed else f"{found[0]} = {short(found[1])}"


def _any_mixer_key(signals: Signals) -> bool:
    return any(rule.source == "key" and rule.detect(signals) for rule in RULES if rule.claim in MIXERS)


_SOFTMAX_LABELS = frozenset({"attention", "*", "hybrid", "global", "local"})
_MIXER_LABELS = frozenset({"mamba", "mamba2", "ssm", "M", "linear_attention", "conv", "recurrent"})

RULES: tuple[Rule, ...] = (
    Rule("moe", "key", _experts, "more than one routed expert"),
    Rule("moe", "key", _label("E", "moe"), "some layers are mixtures of experts"),
    Rule("moe", "tensor", _tensor(r"(^|\.)(experts|local_experts|block_sparse_moe)(\.|_|$)"), "weights of experts"),
    Rule("mla", "key", _keys("kv_lora_rank", "qk_rope_head_dim"), "keys and values are compressed to a low rank"),
    Rule(
        "mla",
        "tensor",
        _tensor(r"\.(kv_a_proj_with_mqa|kv_b_proj|kv_a_layernorm|wkv_b)(\.|$)"),
        "down and up projection of the compressed keys and values",
    ),
    Rule("sparse-attention", "key", _keys("index_topk", "index_n_heads"), "an indexer chooses the keys of a query"),
    Rule("sparse-attention", "key", _key("index_topk_blocks"), "an indexer chooses blocks of keys"),
    Rule("sparse-attention", "tensor", _tensor(r"\.indexer\."), "weights of an indexer"),
    Rule("mtp", "key", _key("num_nextn_predict_layers"), "extra layers predict later tokens"),
    Rule("mtp", "tensor", _tensor(r"(^|\.)(mtp|mtp_layers|nextn)\w*\."), "weights of extra prediction layers"),
    Rule("mtp", "tensor", _beyond_last, "a prediction layer stored after the last layer of the stack"),
    Rule("ssm", "key", _key("ssm_state_size"), "width of a state-space state"),
    Rule("ssm", "key", _label("mamba", "mamba2", "ssm", "M"), "some layers are state-space layers"),
    Rule("ssm", "tensor", _scan(with_skip=True), "decay with a skip weight D in the same module"),
    Rule(
        "linear-attention", "key", _keys("linear_num_key_heads", "linear_num_value_heads"), "sizes of linear attention"
    ),
    Rule("linear-attention", "key", _key("linear_attn_config"), "settings of linear attention"),
    Rule("linear-attention", "key", _label("linear_attention"), "some layers are linear attention"),
    Rule("linear-attention", "key", _linear_types, "0 stands for linear attention"),
    Rule("linear-attention", "tensor", _scan(with_skip=False), "decay without a skip weight D"),
    Rule("linear-attention", "tensor", _tensor(r"\.(linear_attn|output_gate)\."), "weights of linear attention"),
    Rule("convolution", "key", _key("conv_L_cache"), "width of a short convolution"),
    Rule("convolution", "key", _label("conv"), "some layers are short convolutions"),
    Rule("convolution", "tensor", _tensor(r"\.conv\.conv\.weight$"), "weights of a short convolution"),
    Rule("recurrence", "key", _key("lru_width"), "width of a gated linear recurrence"),
    Rule("recurrence", "key", _keys("rescale_every", "attention_hidden_size"), "time mixing by recurrence"),
    Rule("recurrence", "key", _keys("qk_dim_factor", "v_dim_factor"), "matrix memory"),
    Rule("recurrence", "key", _label("recurrent"), "some layers are recurrent"),
    Rule(
        "recurrence",
        "tensor",
        _tensor(r"(\.rg_lru\.|\.time_(mix|decay|maa)\w*(\.|$)|\.attention\.time_|\.mlstm_layer\.)"),
        "weights of a recurrence",
    ),
    Rule("attention", "key", _attention_keys, "softmax attention"),
    Rule(
        "attention",
        "tensor",
        _tensor(r"\.(q_proj|qkv_proj|query_key_value|Wqkv|c_attn|q_b_proj|kv_b_proj|wq|qkv)(\.|$)"),
        "query projections",
    ),
)


def structure_claims(signals: Signals) -> tuple[tuple[Claim, ...], tuple[Disagreement, ...]]:
    """One claim a structure tag that holds, and what the sources disagree about."""
    claims: list[Claim] = []
    disagreements: list[Disagreement] = []
    held: dict[str, tuple[Evidence, ...]] = {}
    for tag in (*STRUCTURE, *MIXERS):
        evidence = gather(RULES, tag, signals)
        holds, why, differs = weigh(tag, evidence, tensors_decide=signals.from_headers)
        if holds:
            held[tag] = why
        if differs:
            disagreements.append(differs)
    if "moe" not in held:
        claims.append(Claim("structure", "dense", _dense_evidence(signals)))
    claims += [Claim("structure", tag, held[tag]) for tag in STRUCTURE if tag in held]
    claims += _mixer_claims(signals, {tag: held[tag] for tag in MIXERS if tag in held})
    return tuple(claims), tuple(disagreements)


def _dense_evidence(signals: Signals) -> tuple[Evidence, ...]:
    if signals.from_headers:
        return (Evidence("tensor", "no tensor of the checkpoint belongs to an expert"),)
    return (Evidence("key", "no key gives more than one expert"),)


def _mixer_claims(signals: Signals, mixers: dict[str, tuple[Evidence, ...]]) -> list[Claim]:
    if not mixers:
        return []
    evidence = gather(RULES, "attention", signals)
    attention = evidence["tensor"] or (() if signals.from_headers else evidence["key"])
    if attention:
        return [Claim("structure", f"hybrid-{tag}", (*why, attention[0])) for tag, why in mixers.items()]
    both = tuple(item for why in mixers.values() for item in why)
    alone = Evidence("tensor" if signals.from_headers else "key", "no softmax attention beside it")
    return [
        Claim("structure", "recurrent", (*both, alone)),
        *(Claim("structure", tag, why) for tag, why in mixers.items()),
    ]
