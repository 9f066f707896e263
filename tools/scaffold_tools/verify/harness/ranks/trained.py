"""Some steps of training: what flows back is what flows back in Hugging Face, and the two still agree afterwards."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from ranks.gradients import furthest, of_hugging_face
from ranks.layouts import Layout
from ranks.part import Batch, Part, export, exported_gradients, gradient, run_schedule, whole_logits
from ranks.processes import Say
from ranks.subject import Subject, largest, ready

STEPS = 4
LEARNING_RATE = 2e-3
TRAINED = "trained"


def work_train(subject: Subject, rank: int, say: Say) -> dict[str, Any]:
    """Compare gradients, take some steps of Adam, compare what both models make of the result.

    Returns:
        `gradients`, `worst`, `compared`: the largest share by which a gradient is off Hugging Face's; `lifeless`:
        trained parameters without a gradient where Hugging Face has one; `losses` of each step; `logits`: largest
        difference after the last one.
    """
    part, batch = ready(subject, Layout(), rank, say, "trained"), Batch.of(subject.tokens)
    say("trained.gradients")
    _, wanted = of_hugging_face(subject.model, batch, subject.folder.parent / "gradients")
    run_schedule(part, batch, backward=True)
    found = exported_gradients(part)
    share, worst = furthest(found, wanted)
    lifeless = [name for name, one in wanted.items() if bool(one.any()) and not bool(found.get(name, one[:0]).any())]
    say("trained.loss")
    losses = _train(part, batch)
    say("trained.logits")
    for chunk in part.chunks:
        chunk.eval()
    logits = whole_logits(part, batch, subject.vocabulary)
    assert logits is not None
    there = _hugging_face(subject, export(part), batch)
    return {
        "gradients": share,
        "worst": worst,
        "compared": len(wanted),
        "lifeless": lifeless,
        "losses": losses,
        "logits": largest(logits, there),
    }


def _train(part: Part, batch: Batch) -> list[float]:
    """Losses of each step on the same batch, and of what the last step left."""
    trained = [one for chunk in part.inner() for one in chunk.parameters() if one.requires_grad]
    adam = torch.optim.Adam(trained, lr=LEARNING_RATE, foreach=False)
    losses = []
    for step in range(STEPS + 1):
        for chunk in part.chunks:
            chunk.train()
            chunk.zero_grad_buffer()
        losses.append(float(torch.stack(run_schedule(part, batch, backward=True)).mean()))
        for one in trained:
            one.grad = gradient(one)
        if step < STEPS:
            adam.step()
    return losses


def _hugging_face(subject: Subject, exported: dict[str, torch.Tensor], batch: Batch) -> torch.Tensor:
    """Logits of the Hugging Face model with weights that were exported."""
    from safetensors.torch import save_file

    folder = subject.folder.parent / TRAINED
    folder.mkdir(exist_ok=True)
    for file in subject.folder.iterdir():
        if file.suffix in (".json", ".py") and "index" not in file.name:
            shutil.copyfile(file, folder / file.name)
    save_file(
        {name: one.contiguous() for name, one in exported.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    model = type(subject.model).from_pretrained(str(folder), **options).eval()
    with torch.no_grad():
        return model(input_ids=batch.tokens, use_cache=False).logits
