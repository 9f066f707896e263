"""A ROLL in miniature: the parts beside mcore_adapter that decide how classes of transformers are trained."""

from __future__ import annotations

from pathlib import Path

FACTORY = """
def create_strategy(worker):
    strategy_name = worker.worker_config.strategy_args.strategy_name
    if strategy_name == "vllm":
        from roll.distributed.strategy.vllm_strategy import VllmStrategy as strategy_cls
    elif strategy_name == "megatron_train":
        from roll.distributed.strategy.megatron_strategy import MegatronTrainStrategy as strategy_cls
    elif strategy_name == "fsdp2_train":
        from roll.distributed.strategy.fsdp2_strategy import FSDP2TrainStrategy as strategy_cls
    MORE
    else:
        raise ValueError(f"Unknown strategy name: {strategy_name}")
    return strategy_cls(worker)
"""
DEEPSPEED = """elif strategy_name == "deepspeed_train":
        from roll.distributed.strategy.deepspeed_strategy import DeepSpeedTrainStrategy as strategy_cls"""

PROVIDERS = """
from transformers import AutoModelForCausalLM


def load_model(model_args, is_trainable=False):
    from transformers import AutoModelForImageTextToText

    if type(config) in AutoModelForImageTextToText._model_mapping.keys():
        model_class = AutoModelForImageTextToText
    else:
        model_class = AutoModelForCausalLM
    return model_class.from_pretrained(model_args.model_name_or_path)


def get_extra_data_provider(model_name_or_path, processor=None):
    model_type = config.model_type
    if isinstance(model_type, str) and (("wren2" in model_type) or (model_type in ("wren_vl", "wren_vl_moe"))):
        if model_type == "wren2_vl":
            from transformers.models.wren2_vl.modeling_wren2_vl import Wren2VLModel

            get_rope_index = types.MethodType(Wren2VLModel.get_rope_index, dummy_self)
        elif model_type in ("wren_vl", "wren_vl_moe"):
            from transformers.models.wren_vl.modeling_wren_vl import WrenVLModel

            get_rope_index = types.MethodType(WrenVLModel.get_rope_index, dummy_self)
        return get_rope_index
    return None
"""

UPDATE = """
from roll.third_party.fsdp2.wren_moe_patch import _iter_convert_moe_weights


def gather_fsdp2_weights(model, buffer_size, is_lora=False):
    need_convert_moe = getattr(model.config, "model_type", "") in ("wren_moe", "wren_next")
    params_iter = _iter_convert_moe_weights(named_params) if need_convert_moe else named_params
    yield from params_iter
"""

PATCH = """
def _iter_convert_moe_weights(named_params):
    for name, param in named_params:
        if "experts.gate_up_proj" in name:
            for expert_idx in range(param.shape[0]):
                gate_name = name.replace("gate_up_proj", f"{expert_idx}.gate_proj.weight")
                up_name = name.replace("gate_up_proj", f"{expert_idx}.up_proj.weight")
                yield gate_name, param
                yield up_name, param
        elif "experts.down_proj" in name:
            for expert_idx in range(param.shape[0]):
                down_name = name.replace("down_proj", f"{expert_idx}.down_proj.weight")
                yield down_name, param
        else:
            yield name, param
"""


def roll_tree(root: Path, *, deepspeed: bool = False, undoes: bool = True) -> Path:
    """A checkout, with or without DeepSpeed and the generator that takes joined experts apart."""
    files = {
        "roll/distributed/strategy/factory.py": FACTORY.replace("MORE", DEEPSPEED if deepspeed else "# no more"),
        "roll/models/model_providers.py": PROVIDERS,
        "roll/third_party/fsdp2/model_update.py": UPDATE if undoes else "def gather_fsdp2_weights(model): ...\n",
        "roll/third_party/fsdp2/wren_moe_patch.py": PATCH,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
