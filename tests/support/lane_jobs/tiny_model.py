"""A model with weights and a tokenizer in a folder, as a publisher leaves it; so small that it writes nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ("the", "capital", "of", "France", "is", "Paris", "and", "a", "river", "runs", "through", "it", "The", ".")


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Save a Qwen3 of two layers, randomly weighted, with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = Path(request["folder"])
    vocabulary = {word: number for number, word in enumerate(["<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<unk>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.Qwen3Config(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, vocab_size=len(vocabulary), tie_word_embeddings=False, eos_token_id=None, initializer_range=0.3,
        architectures=["Qwen3ForCausalLM"],
    )  # fmt: skip
    transformers.Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return {"vocabulary": len(vocabulary)}
