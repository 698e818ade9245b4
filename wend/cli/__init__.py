"""The command ``wend``: one module for each verb, with ``add_arguments`` and ``run``.

The top floor: it may import everything, and nothing imports it but ``wend.__main__`` and scripts.
A verb's module is imported only when the verb is called. One more verb is a module here and its
entry in ``parser.MODULES``; options that several verbs share are in ``options``. Work that a
script could also want belongs below, not here.
"""

from wend.cli.parser import main

__all__ = ["main"]
