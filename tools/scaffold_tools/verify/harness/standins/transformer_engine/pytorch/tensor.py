"""The base class of quantised tensors; nothing here is ever an instance of it."""

import torch


class QuantizedTensor(torch.Tensor):
    pass
