"""The model verification card of a checkout: everything `unverified`, and what was measured on small models said so.

A card's items are about the published weights on the hardware that they name. What the CPU lane measures, models of
the same architecture with random weights, verifies none of them; its figures go into the summary, as such.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold_tools.workspace.checkout import commit_of

if TYPE_CHECKING:
    from scaffold_tools.verify.evidence import Evidence

HOME = "examples/model_verification_cards"
TEMPLATE = "checkout/card.yaml.j2"
UNMEASURED = "Nothing has been measured for this model yet."
_WIDTH = 76


@dataclass(frozen=True)
class Item:
    """One row of a card: what a verification of it has to show."""

    name: str
    expected: str
    features: bool = False
    metrics: bool = True
    depends_on: str = ""
    command_field: str = "command"

    def words(self) -> dict[str, Any]:
        """For the template."""
        lines = textwrap.wrap(f"{self.expected} Not run for this card yet.", _WIDTH - 8)
        return {**dataclasses.asdict(self), "expected": lines, "resumes": self.name == "checkpoint_resume"}


_CONVERTS = "the pinned Hugging Face checkpoint must map every tensor"
MODEL_ITEMS = (
    Item("hf_to_megatron_cpu", f"A CPU import of {_CONVERTS}, and the saved Megatron checkpoint must reload."),
    Item("hf_to_megatron_gpu", f"A distributed GPU import of {_CONVERTS}, and the saved checkpoint must reload."),
    Item("megatron_to_hf_cpu", "A CPU export of an imported checkpoint must give every tensor back, bit for bit."),
    Item("megatron_to_hf_gpu", "A distributed GPU export must give every tensor back and reload in Transformers."),
    Item(
        "manual_forward_pass",
        "A Hugging Face and a Megatron forward of one prompt must agree on the next token with a cosine similarity of "
        "at least 0.99.",
    ),
    Item("inference", "A deterministic greedy generation from the imported checkpoint must be recorded literally."),
)
_TRAINS = "must finish with finite loss, no skipped iteration, all five metrics, and a checkpoint that reloads."
TRAINING_ITEMS = (
    Item("pretrain", f"A bounded pretraining run on public data {_TRAINS}", features=True),
    Item("sft", f"A full fine-tuning run on pinned data {_TRAINS}", features=True),
    Item(
        "sft_export_inference",
        "The fine-tuned checkpoint must export to Hugging Face, reload, and give a recorded deterministic completion.",
        metrics=False,
        depends_on="sft",
        command_field="commands",
    ),
    Item("sft_long_context", f"A packed long-context run with context parallelism {_TRAINS}", features=True),
    Item("peft", f"A PEFT run {_TRAINS}", features=True),
    Item(
        "checkpoint_resume",
        "A continued run must restore model, optimizer, scheduler, data order and random state, and match the "
        "sentinel losses.",
        depends_on="pretrain",
    ),
)


@dataclass(frozen=True)
class Card:
    """Where the card lies, and what its template is told."""

    path: str
    words: dict[str, Any]


def design_card(
    model_id: str | None, revision: str | None, *, stem: str, architecture: str, root: Path
) -> Card | None:
    """The card of a model that nobody has verified; None where the checkout keeps no cards, or has this one already.

    Args:
        model_id: `org/name`; without one, upstream's own placeholder stands for it.
        revision: the 40-hex commit that was read.
        stem: of the model's modules, for a card without an id.
        architecture: the Hugging Face class.
        root: the checkout.
    """
    others = sorted((root / HOME).glob("*/card.yaml"))
    if not others:
        return None
    slug = model_id.rsplit("/", 1)[-1].lower() if model_id else stem.replace("_", "-")
    if root / HOME / slug / "card.yaml" in others:  # what somebody verified is not made unverified
        return None
    words = {
        "title": re.sub(r"\W+", "_", slug),
        "figures": textwrap.wrap(UNMEASURED, _WIDTH),
        "hf_id": model_id or "ORG/MODEL",
        "hf_revision": revision,
        "architecture": architecture,
        "transformers": _transformers(root),
        "container": _container(others),
        "commit": commit_of(root),
        "hardware": "H100",  # what recipes are made for
        "model_items": [item.words() for item in MODEL_ITEMS],
        "training_items": [item.words() for item in TRAINING_ITEMS],
    }
    return Card(f"{HOME}/{slug}/card.yaml", {"card": words})


def _container(others: list[Path]) -> str:
    """The public container that the most cards of the checkout name, the newest of equals."""
    found = Counter(
        match[1]
        for card in others
        if (match := re.search(r"base_container: (\S+)", card.read_text("utf-8", "replace")))
    )
    return max(found, key=lambda name: (found[name], name), default="")


def _transformers(root: Path) -> str:
    """The lowest release that the checkout allows."""
    place = root / "pyproject.toml"
    text = place.read_text("utf-8", "replace") if place.is_file() else ""
    match = re.search(r'"transformers[^"]*>=\s*(\d+)\.(\d+)(?:\.(\d+))?', text)
    return f"{match[1]}.{match[2]}.{match[3] or 0}" if match else "0.0.0"


def tell(path: str, content: str, evidence: Evidence | None, commit: str | None) -> str | None:
    """A generated file with what was measured in it; None for files that hold no figures.

    Args:
        path: of the file, relative to the checkout.
        content: as it was generated, without figures or with others.
        evidence: what was measured; None: nothing.
        commit: of the checkout that the first apply was made on, so that the user's own commits change no card.
    """
    if not (path.startswith(f"{HOME}/") and path.endswith("/card.yaml")):
        return None
    if commit and re.fullmatch(r"[0-9a-f]{40}", commit):
        content = re.sub(r'(?m)^  bridge_commit: "[0-9a-f]{40}"', f'  bridge_commit: "{commit}"', content)
    said = UNMEASURED if evidence is None else summary_of(evidence)
    lines = "".join(f"  {line}\n" for line in textwrap.wrap(said, _WIDTH))
    head, found, rest = content.partition("  results.\n")  # of our own text: figures stand behind the disclaimer
    return head + found + lines + rest[rest.index("verification_index:") :] if found else content


def summary_of(evidence: Evidence) -> str:
    """A paragraph of figures, with what they are figures of."""
    versions = ", ".join(
        f"{name} {value}" for name in ("transformers", "torch", "megatron-core")
        if isinstance(value := evidence.environment.get(name), str) and re.fullmatch(r"[\w.+-]{1,40}", value)
    )  # fmt: skip
    found = [text for name, word in _FIGURES if (text := _figure(evidence, name, word))]
    bad = sum(check.status in ("failed", "error") for check in evidence.checks)
    verdict = "agrees" if evidence.proven else f"does not agree ({bad} checks failed)"
    return (
        f"On small models of this architecture with random weights, in fp32 on a CPU, the integration {verdict} with "
        f"Hugging Face: {'; '.join(found) or 'nothing was compared'} ({versions}). No item below has been run on the "
        "published weights."
    )


_FIGURES = (
    ("round_trip.exact", "tensors that come back bit for bit"),
    ("logits.max_abs", "largest difference of logits"),
    ("logits.cosine", "smallest cosine similarity of logits"),
    ("generation.greedy", "greedy tokens that are equal"),
)


def _figure(evidence: Evidence, name: str, word: str) -> str:
    """The worst figure of a check over all small models; counts are added up."""
    values = [check.value for check in evidence.checks if check.name == name and check.value is not None]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    counts = [re.fullmatch(r"(\d{1,9})/(\d{1,9})", value) for value in values if isinstance(value, str)]
    if numbers and len(numbers) == len(values):
        return f"{word} {min(numbers) if name.endswith('cosine') else max(numbers):.3g}"
    if counts and all(counts):
        pairs = [(int(one[1]), int(one[2])) for one in counts if one]
        return f"{word} {sum(have for have, _ in pairs)} of {sum(want for _, want in pairs)}"
    return ""
