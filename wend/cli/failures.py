"""What the command line says where it cannot go on, and its exit status then."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from wend.errors import InputError, Interrupted, ToldError, brief
from wend.files import REFUSALS
from wend.stop_signals import end_at_once, handled


def exit_status(action: Callable[[], int]) -> int:
    """What the action returns; 2 where it cannot go on, and one line says why.

    That is so where the user's input is wrong, and where the system refuses a file: no rights, a
    full disk, a name that is too long, a file in the place of a folder. 1 where nobody reads the
    output any more, as in ``wend evaluate ... | head``. 128 + its number where a signal asked to
    end: then, too, one line says so.
    """
    try:
        with handled(end_at_once):
            status = action()
        sys.stdout.flush()
        return status
    except Interrupted as error:
        if not error.is_told:
            print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:  # of a library
        print(Interrupted(signal.SIGINT), file=sys.stderr)
        return 128 + signal.SIGINT
    except ToldError:
        return 2
    except InputError as error:
        message = str(error)
    except BrokenPipeError:
        _write_no_more()
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in REFUSALS:  # not about a file
            raise
        if error.filename is None:  # writers name their files
            message = f"standard output: {error.strerror}"
            _write_no_more()
        else:
            message = f"{error.filename}: {error.strerror}"
    print(f"error: {brief(message)}", file=sys.stderr)
    return 2


def _write_no_more() -> None:
    """Let the interpreter's last flush of standard output succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
