"""The command ``wend``, and ``python -m wend``.

Files of the user's in the working folder, such as ``./yaml.py`` or ``./logging.py``, are never
taken for a library's modules. This is arranged here, before anything else is imported; only where
``python -m wend`` is called beside a ``./wend.py`` is that what Python runs.
"""

import os
import sys


def look_last_in_working_folder() -> None:
    """Let this process look for modules in the working folder last, and those it starts not first.

    ``python -m`` puts the working folder first, and so does (from Python 3.11 on, unless it is told
    otherwise) each process that multiprocessing starts, until it has the path of its parent.
    """
    if sys.path[0] in ("", os.getcwd()):
        sys.path.append(sys.path.pop(0))
    os.environ["PYTHONSAFEPATH"] = "1"


def begin_process() -> None:
    """What a command does before it imports anything else."""
    look_last_in_working_folder()
    from wend.collecting import collect_later
    from wend.late_compiler import load_compiler_later

    collect_later()
    load_compiler_later()


def main() -> int:
    """Run ``wend ...``; returns the exit status."""
    begin_process()
    from wend.cli.failures import exit_status

    return exit_status(_run)  # what a command imports takes seconds, in which Ctrl-C may come, too


def _run() -> int:
    from wend.cli.parser import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
