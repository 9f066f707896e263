"""What Megatron reads from any module of the library."""

import torch


class TransformerEngineBaseModule(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fp8_meta = {"fp8_checkpoint": False}  # read where experts are saved
        self.fp8 = False
        self.fp8_calibration = False
        self.fp8_initialized = False
        self.save_original_input = False
        self.tp_group = None
        self.tp_size = 1
        self.sequence_parallel = False

    def set_tensor_parallel_group(self, tp_group):
        self.tp_group = tp_group

    def init_fp8_metadata(self, num_gemms=1):
        return None

    def backward_dw(self):
        return None

    def need_backward_dw(self):
        return False

    def get_extra_state(self):  # the library always has this key in its state dict
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state):
        return None


def default_device(device):
    """Where parameters are made: `cuda` is what callers ask for by default, and there is none."""
    return "meta" if str(device) == "meta" else "cpu"
