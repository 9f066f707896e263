"""A config whose keys nobody else uses."""

from transformers import PretrainedConfig


class LadderConfig(PretrainedConfig):
    model_type = "ladder"

    def __init__(
        self,
        rungs=5,
        breadth=384,
        spokes=6,
        swell=1024,
        lexicon=900,
        reach=1024,
        fuzz=1e-5,
        damp=0.7,
        spin_base=12000.0,
        **kwargs,
    ):
        self.rungs = rungs
        self.breadth = breadth
        self.spokes = spokes
        self.swell = swell
        self.lexicon = lexicon
        self.reach = reach
        self.fuzz = fuzz
        self.damp = damp
        self.spin_base = spin_base
        super().__init__(**kwargs)
