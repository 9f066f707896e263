"""Quantisation recipes: names that are imported and subclassed, never used on a CPU."""

import enum


class Format(enum.Enum):
    E4M3 = "E4M3"
    E5M2 = "E5M2"
    HYBRID = "HYBRID"


class Recipe:
    def __init__(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__}: the stand-in has no FP8 or FP4")


class DelayedScaling(Recipe):
    pass


class Float8CurrentScaling(Recipe):
    pass


class Float8BlockScaling(Recipe):
    pass


class MXFP8BlockScaling(Recipe):
    pass


class NVFP4BlockScaling(Recipe):
    pass


class CustomRecipe(Recipe):
    pass
