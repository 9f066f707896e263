"""`scaffold inspect`: what kind of model a link is, from headers alone."""

from __future__ import annotations

from typing import Annotated

import typer

from scaffold.options import Json


def run(
    link: Annotated[str, typer.Argument(metavar="LINK", help="As for new-model.")],
    json: Json = False,
) -> int:
    """What kind of model this is.

    Reads config.json and the headers of the weights; downloads no weights and runs no code.
    """
    from scaffold import inspection
    from scaffold_tools.classify.model import classify
    from scaffold_tools.source.read import read_inventory

    inventory = read_inventory(link)
    classification = classify(inventory)
    inspection.show(inventory, classification, json=json)
    return 0
