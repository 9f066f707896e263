"""Logits of a model in ROLL's mcore_adapter against transformers, in fp32 on a CPU.

Run it with the Python that has scaffold; it goes on in scaffold's CPU lane, which has torch and megatron-core, with
scaffold's stand-ins for Transformer Engine. TOY is a small saved model; a run of `scaffold new-model` leaves two in
.scaffold/<model>/toys, with every scalar of the config set to a value that is nobody's default.

Prints one JSON object. Exit code 0: below the limit; 1: not; 5: there is no lane.

    python compare_logits.py .scaffold/my-model/toys/toy-a --roll ~/ROLL
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Parse, and run in the lane what needs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("toy", type=Path, metavar="TOY", help="folder of a small saved model")
    parser.add_argument("--roll", type=Path, required=True, metavar="PATH", help="checkout of ROLL")
    parser.add_argument("--limit", type=float, default=1e-4, help="largest difference that counts as equal")
    parser.add_argument("--length", type=int, default=37, help="tokens; longer than any window")
    parser.add_argument("--inside", metavar="HARNESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is None:
        return _in_lane(options)
    measured = _difference(options)
    shown = measured if math.isfinite(measured) else "not finite"
    print(json.dumps({"toy": str(options.toy), "max_abs": shown, "limit": options.limit, "length": options.length}))
    return 0 if measured < options.limit else 1


def _in_lane(options: argparse.Namespace) -> int:
    from scaffold_tools.paths import harness_dir
    from scaffold_tools.verify.lane_env import INSTALL_COMMAND, find_lane

    lane = find_lane()
    if lane is None:
        print(f"error: the CPU lane is not installed: {INSTALL_COMMAND}", file=sys.stderr)
        return 5
    harness = str(harness_dir())
    source = options.roll / "mcore_adapter" / "src"
    if not source.is_dir():
        print(f"error: {source} is not there; --roll wants a checkout of ROLL", file=sys.stderr)
        return 2
    path = os.pathsep.join((str(source.resolve()), harness, f"{harness}/standins"))
    words = [str(lane.python), __file__, *sys.argv[1:], "--inside", harness]
    return subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


def _difference(options: argparse.Namespace) -> float:
    import torch
    from mcore.no_cuda import neutralise

    neutralise()
    torch.cuda.current_device = lambda: torch.device("cpu")
    _one_process()
    from mcore_adapter.models import AutoModel
    from mcore_adapter.training_args import TrainingArguments
    from transformers import AutoModelForCausalLM

    settings = TrainingArguments(output_dir="unused", bf16=False, use_cpu=True)
    ours = AutoModel.from_pretrained(str(options.toy), settings, use_cpu_initialization=True).models[0]
    theirs = AutoModelForCausalLM.from_pretrained(options.toy, dtype=torch.float32, attn_implementation="eager").eval()
    tokens = torch.randint(0, theirs.config.vocab_size, (1, options.length))
    places = torch.arange(options.length)[None]
    with torch.no_grad():
        expected = theirs(tokens).logits
        found = ours.float().eval()(input_ids=tokens, position_ids=places, attention_mask=None)
    return float((expected - found[..., : expected.shape[-1]]).abs().max())


def _one_process() -> None:
    """Parallel state of a single rank, and no seeds of CUDA generators."""
    import torch
    from megatron.core import parallel_state, tensor_parallel

    tensor_parallel.model_parallel_cuda_manual_seed = lambda *args, **kwargs: None
    tensor_parallel.random.model_parallel_cuda_manual_seed = lambda *args, **kwargs: None
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    parallel_state.initialize_model_parallel()


if __name__ == "__main__":
    sys.exit(main())
