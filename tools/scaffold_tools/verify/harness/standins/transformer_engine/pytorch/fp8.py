"""FP8 is off, and asking for it raises."""

from contextlib import contextmanager


class FP8GlobalStateManager:
    @classmethod
    def is_fp8_enabled(cls):
        return False

    @classmethod
    def is_fp8_calibration(cls):
        return False

    @classmethod
    def is_first_fp8_module(cls):
        return False

    @classmethod
    def get_fp8_recipe(cls):
        return None

    @classmethod
    def reset(cls):
        return None


@contextmanager
def autocast(enabled=False, *args, **kwargs):
    if enabled:
        raise NotImplementedError("the stand-in has no FP8")
    yield


fp8_autocast = fp8_model_init = quantized_model_init = autocast


def check_fp8_support():
    return False, "no GPU"


check_mxfp8_support = check_fp8_support
