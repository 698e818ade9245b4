"""WEND: object boxes without box labels (weighted entropy guided binary-class detector).

The rooms, top floor first; each imports only from below: ``cli``; ``d2`` and ``tv``, the engines;
``reports``; ``run``; ``config``; ``evaluation``; ``loading``, ``modeling`` and ``localize``;
``datasets``; ``pseudo_boxes`` and ``classes``; ``formats``; ``images``; ``structures``; and the
modules beside them: ``losses``, ``schedules``, ``registry``, ``files``, ``errors``, ... Importing
this package imports none of them. ``docs/design.md`` draws the way of the data.
"""

__version__ = "0.1.0"
