"""Which pseudo boxes are probably wrong, and how many are right, without a truth.

Signals (``signals.py``) rank the boxes by suspicion (``suspicion.py``); a stated random sample of
them (``design.py``) is answered right, wrong or unsure by a human (``answers.py``), and the answers
tell the accuracy of all boxes with its interval (``estimate.py``) and what a suspicion is worth
(``calibration.py``). The table of an audit is a file (``table.py``), and so is what comes of it
(``outcome.py``). May import ``evaluation`` and what is below it; knows no detector and no page.

One more signal is a function with the decorator ``audit_signal``; ``docs/audit.md`` shows one.
"""

from wend.audit.signals import SIGNALS, Evidence, audit_signal

__all__ = ["SIGNALS", "Evidence", "audit_signal"]
