"""`scaffold inspect`: what kind of model a link is, from config.json and tensor headers alone."""

from __future__ import annotations

from scaffold.options import Json, Link


def run(link: Link, json: Json = False) -> int:
    """What kind of model this is, and what nobody recognises in its config.json.

    Reads config.json and the headers of the tensors; no weights, no torch, no code of the model.
    """
    from scaffold.console import emit_json
    from scaffold_tools.classify.model import classify
    from scaffold_tools.source.read import read_inventory

    inventory = read_inventory(link)
    classification = classify(inventory)
    if json:
        emit_json({"source": inventory.source, "classification": classification})
    else:
        from scaffold.classification_report import show

        show(inventory.source, classification)
    return 0
