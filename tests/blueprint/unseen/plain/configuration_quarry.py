"""A config whose keys nobody else uses."""

from transformers import PretrainedConfig


class QuarryConfig(PretrainedConfig):
    model_type = "quarry"

    def __init__(
        self,
        n_blocks=6,
        width=512,
        q_heads=8,
        kv_heads=4,
        ff_mult_width=1408,
        n_words=1024,
        span=2048,
        norm_fuzz=1e-6,
        wave_base=20000.0,
        emb_gain=3.0,
        branch_gain=0.5,
        near_only=96,
        **kwargs,
    ):
        self.n_blocks = n_blocks
        self.width = width
        self.q_heads = q_heads
        self.kv_heads = kv_heads
        self.ff_mult_width = ff_mult_width
        self.n_words = n_words
        self.span = span
        self.norm_fuzz = norm_fuzz
        self.wave_base = wave_base
        self.emb_gain = emb_gain
        self.branch_gain = branch_gain
        self.near_only = near_only
        super().__init__(**kwargs)
