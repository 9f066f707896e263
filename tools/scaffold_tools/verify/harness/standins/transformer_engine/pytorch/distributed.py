"""Activation checkpointing and random states, as far as a CPU needs them."""

import contextlib

import torch


class CudaRNGStatesTracker:
    """Keeps names; forking changes nothing, because there is one generator."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.states_ = {}
        self.seeds_ = set()

    def get_states(self):
        return dict(self.states_)

    def set_states(self, states):
        self.states_ = states

    def add(self, name, seed):
        self.seeds_.add(seed)
        self.states_[name] = None

    @contextlib.contextmanager
    def fork(self, name="model-parallel-rng"):
        yield


def checkpoint(
    function, *args, distribute_saved_activations=False, get_rng_state_tracker=None, tp_group=None, **kwargs
):
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False, **kwargs)


def is_fp8_activation_recompute_enabled():
    return False


@contextlib.contextmanager
def activation_recompute_forward(*args, **kwargs):
    yield
