"""A config whose keys nobody else uses; one flag, one list a layer."""

from transformers import PretrainedConfig


class HarborConfig(PretrainedConfig):
    model_type = "harbor"

    def __init__(self, **kwargs):
        defaults = {
            "depth_": 5, "d": 384, "n_att": 6, "hd": 48, "inner": 1000, "tokens_": 777, "longest": 512, "tiny": 1e-5,
            "theta_": 50000.0, "turn_share": 0.5, "cap": 40.0, "shift": True, "every_other": None, "reach": 64,
        }  # fmt: skip
        for key, value in defaults.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)
