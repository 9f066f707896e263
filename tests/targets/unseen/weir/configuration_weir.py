"""A config whose keys nobody else uses."""

from transformers import PretrainedConfig


class WeirConfig(PretrainedConfig):
    model_type = "weir"

    def __init__(
        self,
        n_pools=6,
        depth_of_stream=512,
        gates=8,
        kv_gates=2,
        gate_width=48,
        spill=1200,
        droplets=800,
        longest=2048,
        silt=1e-6,
        eddy_base=50000.0,
        clarity=0.25,
        flow=None,
        near_by=64,
        **kwargs,
    ):
        self.n_pools = n_pools
        self.depth_of_stream = depth_of_stream
        self.gates = gates
        self.kv_gates = kv_gates
        self.gate_width = gate_width
        self.spill = spill
        self.droplets = droplets
        self.longest = longest
        self.silt = silt
        self.eddy_base = eddy_base
        self.clarity = clarity
        self.flow = flow or ["far"] * n_pools
        self.near_by = near_by
        super().__init__(**kwargs)
