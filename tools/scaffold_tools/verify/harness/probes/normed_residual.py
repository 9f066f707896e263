"""Layers whose residual is what the norm on a sublayer's input puts out, with factors on both sides of each sum."""

from __future__ import annotations

from probes.notebook import Notebook
from probes.skeleton import Skeleton


def note_normed_residual(book: Notebook, skeleton: Skeleton) -> None:
    """The fact `residual.after_norm`, and two factors a sort of sublayer: on its residual, and on its output."""
    if not skeleton.after_norm:
        return
    layers = skeleton.layers
    book.fact("residual.after_norm", True, layers[0].o.where)
    if any(layer.parallel or layer.alone for layer in layers):
        book.fail("residual.after_norm", "layers without a mixer, or with both sublayers on one residual")
        return
    columns = {
        "attn": [(layer.normed_sums["mixer"], layer.o) for layer in layers if not layer.recurrent],
        "mixer": [(layer.normed_sums["mixer"], layer.o) for layer in layers if layer.recurrent],
        "mlp": [(layer.normed_sums["mlp"], layer.down) for layer in layers if "mlp" in layer.normed_sums],
    }
    for name, rows in columns.items():
        if rows:
            book.layered(f"residual.{name}.keep", [keep for (keep, _), _ in rows], rows[0][1].where)
            book.layered(f"residual.{name}.add", [add for (_, add), _ in rows], rows[0][1].where)
