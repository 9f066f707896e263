"""A ROLL in miniature: the parts beside mcore_adapter that decide how classes of transformers are trained."""

from __future__ import annotations

from pathlib import Path

FACTORY = """
def create_strategy(worker):
    strategy_name = worker.worker_config.strategy_args.strategy_name
    if strategy_name == "vllm":
        from roll.distributed.strategy.vllm_strategy import VllmStrategy as strategy_cls
    elif strategy_name == "sglang":
        from roll.distributed.strategy.sglang_strategy import SgLangStrategy as strategy_cls
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


CONFIGS = """
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Union


@dataclass
class ModelArguments:
    disable_gradient_checkpointing: Optional[bool] = False
    dtype: Optional[str] = "bf16"
    model_type: Optional[str] = None
    model_name_or_path: str = None


@dataclass
class TrainingArguments:
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_steps: int = 0
    num_train_epochs: float = 1.0


@dataclass
class DataArguments:
    template: Optional[str] = "native"
    file_name: Optional[Union[List[str], str]] = None
    domain_interleave_probs: Optional[Dict[str, float]] = None
    messages: Optional[str] = None
    preprocessing_num_workers: Optional[int] = None


@dataclass
class GeneratingArguments:
    max_new_tokens: Optional[int] = 8192
    top_p: Optional[float] = 0.7
    top_k: Optional[int] = 50
    num_beams: Optional[int] = 1
    temperature: Optional[float] = 0.95
    num_return_sequences: Optional[int] = 1


@dataclass
class StrategyArguments:
    strategy_name: str = "fsdp2_train"
    strategy_config: Optional[Dict] = None


@dataclass
class WorkerConfig:
    model_args: ModelArguments = None
    training_args: TrainingArguments = None
    data_args: DataArguments = None
    generating_args: GeneratingArguments = None
    strategy_args: StrategyArguments = None
    worker_cls: Optional[str] = None
    world_size: int = None
    device_mapping: Union[List[int], str] = None
    num_gpus_per_worker: int = 1
    infer_batch_size: int = 16


@dataclass
class BaseConfig:
    exp_name: str = ""
    seed: int = 42
    logging_dir: str = ""
    output_dir: str = ""
    checkpoint_config: Optional[Dict] = None
    track_with: str = ""
    tracker_kwargs: dict = None
    num_gpus_per_node: int = 8
    max_steps: int = 1
    save_steps: int = 1
    logging_steps: int = 1
    eval_steps: int = 1
    resume_from_checkpoint: Union[bool, str] = False
    rollout_batch_size: int = 128
    prompt_length: Optional[int] = 1024
    response_length: Optional[int] = None
    sequence_length: Optional[int] = None
    pretrain: str = None
"""
RLVR = """
@dataclass
class RewardConfig(WorkerConfig):
    tag_included: List[str] = None


@dataclass
class RLVRConfig(BaseConfig):
    num_return_sequences_in_group: int = 1
    ppo_epochs: int = 1
    adv_estimator: str = "gae"
    value_clip: Optional[float] = None
    reward_clip: float = None
    advantage_clip: float = None
    dual_clip_loss: bool = False
    whiten_advantages: bool = False
    add_token_level_kl: bool = False
    reward_pretrain: str = None
    validation: WorkerConfig = None
    actor_train: WorkerConfig = None
    actor_infer: WorkerConfig = None
    reference: WorkerConfig = None
    rewards: Optional[Dict[str, RewardConfig]] = None
"""
SFT = """
@dataclass
class SFTConfig(BaseConfig):
    prompt_key: str = ""
    query_key: Optional[str] = None
    response_key: str = ""
    sft_train: WorkerConfig = None
"""
ARGUMENTS = """
class DistributingParallelArguments:
    tensor_model_parallel_size: int = 1
    pipeline_model_parallel_size: int = 1
    expert_model_parallel_size: int = 1
    sequence_parallel: bool = False
    recompute_granularity: str = None
    moe_token_dispatcher_type: str = None
    moe_grouped_gemm: bool = None
    moe_layer_recompute: bool = False


class MegatronArguments(DistributingParallelArguments):
    use_distributed_optimizer: bool = False
"""
OVERVIEW = """---
title: Overview
---

#### Configuration
[vLLM](https://alibaba.github.io/ROLL/{language}docs/User%20Guides/Configuration/vllm)\x20\x20
[FSDP2](https://alibaba.github.io/ROLL/{language}docs/User%20Guides/Configuration/fsdp2)\x20\x20

#### Pipeline
[RLVR](https://alibaba.github.io/ROLL/{language}docs/User%20Guides/Pipeline/rlvr)
"""
ZH = "docs_roll/i18n/zh-Hans/docusaurus-plugin-content-docs/current"


def documented(root: Path, *, chinese: bool = True) -> Path:
    """The configs' classes and the documentation, beside the strategies of `roll_tree`."""
    files = {
        "roll/configs/worker_config.py": CONFIGS,
        "roll/pipeline/rlvr/rlvr_config.py": RLVR,
        "roll/pipeline/sft/sft_config.py": SFT,
        "mcore_adapter/src/mcore_adapter/training_args.py": ARGUMENTS,
        "docs_roll/docs/Overview.mdx": OVERVIEW.format(language=""),
        "docs_roll/docs/User Guides/Configuration/vllm.md": "# vLLM\n",
    }
    if chinese:
        files[f"{ZH}/Overview.mdx"] = OVERVIEW.format(language="zh-Hans/")
        files[f"{ZH}/User Guides/Configuration/vllm.md"] = "# vLLM\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root
