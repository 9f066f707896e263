"""`scaffold undo`: the tree as it was before apply, byte for byte."""

from __future__ import annotations

from scaffold.options import Json, Run


def run(run: Run = None, json: Json = False) -> int:
    """Take back what was written.

    The tree is as it was, byte for byte; what was added to the files since is kept, or undo refuses.
    """
    from scaffold import look, report, run_folder

    restored = look.undo(run_folder.find(run))
    report.undone(restored, json=json)
    return 0
