"""What is checked: one row a check, with what it proves, what it cannot see, and its tolerance.

The checks run in the lane (`harness/jobs/verify.py`), which records them under these names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckKind:
    """A check that verification knows."""

    name: str
    proves: str
    cannot_see: str
    tolerance: str
    why: str
    """Why that tolerance."""


CHECKS: tuple[CheckKind, ...] = (
    CheckKind(
        "reference.reach",
        "The toy's sequence is longer than every window and original context length, and fits the maximum.",
        "Windows under a config key that no table knows.",
        "strict",
        "A window that is never exceeded could have any size.",
    ),
    CheckKind(
        "reference.noise",
        "The Hugging Face toy's logits are finite, vary, and differ little between fp32 and fp64.",
        "An error in the Hugging Face code itself: it is the definition of right.",
        "0.0001",
        "The tolerance of the logits: noisier toys could fail a right integration.",
    ),
    CheckKind(
        "registration",
        "AutoBridge, given the saved toy, picks the class under test and not one that was there before. "
        "In ROLL: all four registrations are made.",
        "Whether that class is right.",
        "exact",
        "A class is picked or it is not.",
    ),
    CheckKind(
        "build.megatron",
        "The provider finalises and builds a model in fp32 on one process.",
        "Fields that act only with several processes, in training, or on a GPU.",
        "exact",
        "It builds or it does not.",
    ),
    CheckKind(
        "import.hf_consumed",
        "Every tensor of the saved checkpoint is read during import.",
        "Whether it is put where it belongs; the round trip and the logits see that.",
        "all tensors",
        "A tensor that nobody reads is a part of the model that is lost.",
    ),
    CheckKind(
        "import.megatron_filled",
        "Every Megatron parameter and persistent buffer, NaN before, is finite after import.",
        "Whether the values are the right ones.",
        "all parameters",
        "A parameter that nothing fills keeps its initial value in silence.",
    ),
    CheckKind(
        "import.warnings",
        "Import logs no missing mapping or registration: both targets only warn about one, and go on.",
        "What is not logged.",
        "none",
        "Each one is a parameter that was left out.",
    ),
    CheckKind(
        "round_trip.exact",
        "Export gives back the checkpoint: the same names, shapes, dtypes and bits.",
        "Every scalar of the config (rope base, eps, windows, multipliers), and any permutation that export undoes.",
        "bitwise",
        "Import and export only move numbers.",
    ),
    CheckKind(
        "config.exported",
        "The config that the bridge writes back for its provider computes the same, in the Hugging Face class itself. "
        "In ROLL every key has its value, too.",
        "Keys that the bridge does not write: the original config supplies them, as it does in AutoBridge.",
        "0.0001",
        "As for logits.max_abs: a scale that was converted there and back may differ in its last bits.",
    ),
    CheckKind(
        "logits.max_abs",
        "Both models compute the same: the largest difference over all tokens and the whole vocabulary.",
        "Training-only settings (auxiliary losses, dropout), generation caches, and several processes.",
        "0.0001",
        "At most this, and at most 20 times the noise of the toy (fp32 against fp64): small logits hide mistakes.",
    ),
    CheckKind(
        "logits.cosine",
        "The direction of the logits agrees at every position, however large they are.",
        "Small errors: a rope base off by 1% leaves 0.9999996. It never decides alone.",
        "0.99999",
        "A second measure that does not depend on the scale of the logits.",
    ),
    CheckKind(
        "logits.padded",
        "Sequences of different lengths in one padded batch: their real tokens come out the same.",
        "Padding at the start, and packed sequences.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares.",
    ),
    CheckKind(
        "logits.as_called",
        "Called as ROLL's strategy calls it, with a mask of tokens and no positions, the model computes the same.",
        "Packed sequences and padding at the start.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares.",
    ),
    CheckKind(
        "logits.fusions",
        "Without fusions of bias, activation, dropout and softmax the logits are right, too.",
        "Fusions that are CUDA kernels; the CPU lane has them off.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares.",
    ),
    CheckKind(
        "generation.greedy",
        "Greedy decoding writes the same tokens as Hugging Face's own generate(), which uses its cache.",
        "Sampling, and Megatron's own inference engine: it is given the whole text at each step.",
        "all tokens",
        "Where the two best tokens lie closer than the tolerance of logits, the comparison ends.",
    ),
    CheckKind(
        "stored.coverage",
        "Every quantised tensor of the real checkpoint has its scales, and every scale its tensor, by the headers.",
        "Whether the scales hold the right numbers. Skipped where no header was read.",
        "all tensors",
        "Values without scales are no weights.",
    ),
    CheckKind(
        "stored.consumed",
        "A toy in the quantised form of the checkpoint imports, and every value and scale of it is read.",
        "Scales of activations and of the KV cache: no weight needs them.",
        "all tensors",
        "A scale that nobody reads is a tensor that was imported raw.",
    ),
    CheckKind(
        "stored.weights",
        "The standard deviation of each imported weight is that of levels times scales, and all numbers are finite.",
        "A permutation, and scales of the right size in the wrong place; the bits see that.",
        "1.05",
        "Raw FP8 is off by hundreds (13 instead of 0.006 in DeepSeek-V3); rounding to bfloat16 by less than 1%.",
    ),
    CheckKind(
        "stored.exact",
        "What was imported from the quantised toy is bfloat16 of levels times scales, weight by weight.",
        "The layout of a real file that differs from the libraries': the headers and `stored.coverage` see that.",
        "bitwise",
        "Dequantisation is arithmetic; both sides round once.",
    ),
    CheckKind(
        "stored.logits",
        "The quantised toy, imported, computes what the Hugging Face model does with the dequantised weights.",
        "How good the quantisation is: both sides have its error.",
        "0.0001",
        "As for `logits.max_abs`: the weights are equal, so the error of the format takes no part.",
    ),
    CheckKind(
        "stored.copy",
        "The generated script makes of the quantised toy what levels times scales are, and nothing quantised is left.",
        "Memory and speed on a real checkpoint; `make bench-dequant` measures the latter.",
        "bitwise",
        "The copy is what other tools will take for the model.",
    ),
    CheckKind(
        "import.repeatable",
        "A second import of the same checkpoint gives the same parameters.",
        "What a first import gets wrong already.",
        "bitwise",
        "A mapping that changes its source in place shows only the second time.",
    ),
    CheckKind(
        "generation.real",
        "With the real weights and tokenizer, every token that Hugging Face writes on is Megatron's best one, too.",
        "Whether the weights are any good. Run where they lie in the model's folder, unquantised, with a tokenizer,"
        " and one model in fp32 takes at most two thirds of the free memory.",
        "all tokens",
        "A token within a thousandth of the logits' deviation of the best is as good.",
    ),
    CheckKind(
        "square.round_trip",
        "A toy whose sizes coincide (hidden, feed-forward, experts, heads) imports whole and comes back bit by bit.",
        "What the toys with distinct sizes see. Skipped where the class takes no such sizes.",
        "bitwise",
        "As for round_trip.exact.",
    ),
    CheckKind(
        "square.logits",
        "Square matrices are the right way round: their shape says nothing, so code that asks the shape goes wrong.",
        "As for logits.max_abs.",
        "0.0001",
        "As for logits.max_abs.",
    ),
    CheckKind(
        "experts.grouped",
        "With experts in one grouped multiplication, as recipes of ROLL have them, logits and export are right, too.",
        "Speed and FP8. Skipped without experts, and by targets that group them from the start.",
        "0.0001",
        "As for logits.max_abs; the export is compared bit by bit.",
    ),
    CheckKind(
        "lint.fields",
        "Whatever a ROLL template sets, by `config_hf_to_mca` or as a constant, is a field of the config class.",
        "Whether the value is right.",
        "all names",
        "A key that this config lacks is never looked at: the slip waits for a model that has it.",
    ),
    CheckKind(
        "lint.distribution",
        "Each parameter has a rule of distribution in ROLL that splits it along the axis on which its module does.",
        "Collectives: several processes see those.",
        "all parameters",
        "On one process every rule gives the same.",
    ),
    CheckKind(
        "lint.converters",
        "One operation of a ROLL template takes each name that was looked up, and none waits for a tensor in vain.",
        "Whether the operation is the right one.",
        "all names",
        "Patterns match by their beginning: two operations can take the same tensor, and one of them gets it.",
    ),
    CheckKind(
        "sharded.build",
        "Each of several real processes builds its part of the model; one that fails or hangs ends all of them.",
        "Fields that act only on a GPU: overlap of communication, kernels of other backends.",
        "exact",
        "It builds or it does not. Where code refuses a layout (`NotImplementedError`), the layout is skipped.",
    ),
    CheckKind(
        "sharded.import",
        "Every parameter of every rank, NaN before, is finite after import.",
        "Whether the values are the right ones.",
        "all parameters",
        "As for import.megatron_filled.",
    ),
    CheckKind(
        "sharded.logits",
        "The model that is split computes what one process does, by Megatron's own schedules.",
        "Layouts that were not run, and what is wrong on one process, too.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares: other orders of summation, no other arithmetic.",
    ),
    CheckKind(
        "sharded.export",
        "Every rank, asked for it, gathers the whole checkpoint: the same names, shapes and bits.",
        "What import and export get wrong in the same way; the logits see that.",
        "bitwise",
        "As for round_trip.exact.",
    ),
    CheckKind(
        "sharded.gradients",
        "Gradients, summed over ranks as in training and exported, are those of one process.",
        "Losses beside that of the next token (balance of experts, prediction layers).",
        "0.001",
        "Of a tensor's largest: measured are 3e-5 at most; what is summed twice or not at all is off by a half.",
    ),
    CheckKind(
        "saved.exact",
        "A checkpoint that the target saved is loaded in another process and exported as it was imported.",
        "Checkpoints of optimizers.",
        "bitwise",
        "Saving only moves numbers.",
    ),
    CheckKind(
        "saved.resharded",
        "What two tensor-parallel processes saved, one process puts together and exports as it was imported.",
        "Other layouts. Skipped where code refuses tensor parallelism, left out where the model's sizes forbid it.",
        "bitwise",
        "Saving only moves numbers; which axis of a parameter is split, the checkpoint has to say.",
    ),
    CheckKind(
        "saved.logits",
        "The model that comes back, with the config that was saved with it, computes the same.",
        "Fields that act in training alone.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares; measured is 0.",
    ),
    CheckKind(
        "trained.gradients",
        "What flows back, exported, is what flows back in Hugging Face, for every tensor of the checkpoint.",
        "Losses beside that of the next token.",
        "0.001",
        "Of a tensor's largest, as for sharded.gradients.",
    ),
    CheckKind(
        "trained.loss",
        "In training mode some steps of Adam on one batch lower the loss, and all losses are finite.",
        "How well it trains: that takes data and time.",
        "falls",
        "A parameter that learns the wrong way, or NaN, ends it.",
    ),
    CheckKind(
        "trained.logits",
        "The model that was trained, exported and loaded by Hugging Face, computes the same there.",
        "What only many steps bring about.",
        "0.0001",
        "As for logits.max_abs, whose limit it shares.",
    ),
    CheckKind(
        "config.keys",
        "Other values for keys that the Hugging Face code reads (flags, names, counts, labels of layers, numbers) move"
        " both models alike. Run by `--keys`.",
        "Keys that change tensors: their checkpoint is another one, and its import shows it. A refusal counts as an"
        " answer, and so does a value that the Hugging Face class refuses.",
        "0.0001",
        "As for logits.max_abs; asked are keys that move logits by ten times that.",
    ),
    CheckKind(
        "gpu.build",
        "In bfloat16, on GPUs, split as the toy's name says, AutoBridge picks the class under test and it builds.",
        "What fp32 shows: the CPU lane decides on parity. Run by `--lane gpu` and `--lane gpu-multi`.",
        "exact",
        "It builds or it does not.",
    ),
    CheckKind(
        "gpu.import",
        "Every parameter of every rank, NaN before, is finite after import.",
        "Whether the values are the right ones.",
        "all parameters",
        "As for import.megatron_filled.",
    ),
    CheckKind(
        "gpu.round_trip",
        "Export, gathered from all ranks, gives back the checkpoint in bfloat16, bit by bit.",
        "What import and export get wrong in the same way.",
        "bitwise",
        "Weights are stored in bfloat16 and stay so.",
    ),
    CheckKind(
        "gpu.logits",
        "The kernels of this machine compute what Hugging Face computes in fp32 with the same weights.",
        "What is smaller than the error of bfloat16: an epsilon, a slightly different rope base.",
        "4 times",
        "Of the error that Hugging Face's own model makes in bfloat16, measured on the same device.",
    ),
    CheckKind(
        "gpu.generation",
        "Each token that Hugging Face writes is the best one here too, or as good to within the tolerance of logits.",
        "Sampling, and Megatron's own inference engine: it is given the whole text at each step.",
        "all tokens",
        "As for gpu.logits.",
    ),
    CheckKind(
        "gpu.tests",
        "The generated unit and functional tests pass in the GPU lane's Python, and at least one ran.",
        "What those tests do not ask.",
        "all tests",
        "A test passes or it does not.",
    ),
    CheckKind(
        "static.build",
        "The Megatron model of full size builds on the meta device, with the class under test.",
        "Whether it fits into memory.",
        "exact",
        "It builds or it does not.",
    ),
    CheckKind(
        "static.produced",
        "Every parameter of the full model, every layer and expert, has a mapping.",
        "Whether it is the right one; the toys see that.",
        "all parameters",
        "A parameter that nothing fills keeps its initial value in silence.",
    ),
    CheckKind(
        "static.consumed",
        "Every tensor of the real checkpoint is read, and none twice.",
        "Tensors of a checkpoint whose headers were not read: the table then is what transformers would save.",
        "all tensors, once",
        "A layer or expert that toys do not have shows here.",
    ),
    CheckKind(
        "static.shapes",
        "Each mapping gives the shape that its parameter has, at the model's own sizes.",
        "Transposed square matrices.",
        "exact",
        "Shapes are equal or they are not.",
    ),
    CheckKind(
        "static.layout",
        "The model can be split over that many processes: heads, groups, experts, layers and every sharded axis.",
        "Whether the split model computes the same.",
        "exact",
        "An axis divides or it does not.",
    ),
)


def check_kind(name: str) -> CheckKind | None:
    """The row of that name."""
    return next((kind for kind in CHECKS if kind.name == name), None)
