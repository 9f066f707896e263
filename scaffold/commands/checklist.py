"""`scaffold checklist`: the text of the pull request."""

from __future__ import annotations

from scaffold.options import Json, Run


def run(run: Run = None, json: Json = False) -> int:
    """Print the text of the pull request.

    Its boxes are ticked by what was measured; the rest is open, with the command that closes it. For a checkout that
    has a template of its own, that template is filled; the first line then is a comment with the title.
    """
    import sys

    from scaffold import look, run_folder
    from scaffold.console import emit_json

    folder = run_folder.find(run)
    text = look.write_checklist(folder)
    if json:
        title = text.partition("\n")[0].removeprefix("<!--").removesuffix("-->").strip("# ")
        emit_json({"model": folder.name, "path": folder.file("checklist"), "title": title, "markdown": text})
    else:
        sys.stdout.write(text)
    return 0
