"""The command line: what every command has in common. What a command does is in its module under `commands/`.

Results go to stdout, everything else to stderr. An error is one line there, and its class says the exit code; a
traceback appears only with SCAFFOLD_DEBUG=1. Nothing prompts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer

from scaffold.commands import (
    agent,
    apply,
    checklist,
    diff,
    doctor,
    inspect,
    matrix,
    mcp,
    new_model,
    plan,
    skills,
    status,
    undo,
    update,
    verify,
)
from scaffold_tools.errors import ScaffoldError

INTERRUPTED = 130
"""128 + SIGINT, as shells expect."""
BROKEN_PIPE = 141
"""128 + SIGPIPE: the reader of stdout went away, which is its right."""

EXIT_CODES = """\
Exit codes: 0 proven or done; 1 a check failed; 2 bad input or usage; 3 gaps remain; 4 refused for safety;
5 the environment lacks something (and the message says what installs it); 130 interrupted."""

app = typer.Typer(
    name="scaffold",
    help="From a Hugging Face link to a numerically proven integration.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

for _module, _name in (
    (new_model, "new-model"),
    (inspect, "inspect"),
    (plan, "plan"),
    (diff, "diff"),
    (apply, "apply"),
    (update, "update"),
    (undo, "undo"),
    (status, "status"),
    (verify, "verify"),
    (checklist, "checklist"),
    (matrix, "matrix"),
    (agent, "agent"),
    (mcp, "mcp"),
    (doctor, "doctor"),
):
    app.command(_name)(_module.run)
app.add_typer(skills.app, name="skills", help="Playbooks for coding agents.")


def _version(wanted: bool) -> None:
    if wanted:
        from scaffold_tools.workspace.record import tool_version

        print(f"scaffold {tool_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(args: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    code = run(sys.argv[1:] if args is None else args)
    sys.exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command; an error becomes a line on stderr (with `--json` an object on stdout too) and an exit code."""
    try:
        return _invoke(args)
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        if message.startswith("Usage: "):  # a group without a command: its help, as it is
            print(message, file=sys.stderr)
            return 2
        return _report(error, ScaffoldError(message, hint="scaffold --help"), args, code=2)
    except ScaffoldError as error:
        return _report(error, error, args, code=error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; nothing is left half done", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        return _report(error, ScaffoldError(what), args, code=2)
    except Exception as error:
        hint = "a fault in scaffold: run it again with SCAFFOLD_DEBUG=1 and report the traceback"
        return _report(error, ScaffoldError(f"{type(error).__name__}: {error}", hint=hint), args, code=1)


def _invoke(args: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("scaffold", list(args)) as context:
            code = command.invoke(context)
    except typer.Exit as leave:
        code = leave.exit_code
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _report(error: Exception, line: ScaffoldError, args: Sequence[str], *, code: int) -> int:
    if os.environ.get("SCAFFOLD_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    print(f"error: {line.what}", file=sys.stderr)
    if line.hint:
        print(f"hint: {line.hint}", file=sys.stderr)
    if "--json" in args:
        from scaffold.console import emit_json

        emit_json({"error": line.what, "hint": line.hint, "exit_code": code})
    return code


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM as on Ctrl-C, so that the lane's processes are ended and locks released."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
