"""Reports for people: boxes on images, histograms, curves, the summary of a run.

May import ``run``, ``config``, ``evaluation`` and what is below them; no engine imports it, and no
number is computed here that ``evaluation`` does not define. Matplotlib is imported only where a
picture is drawn. One more report is a module that returns plain values or writes a file, and a
verb in ``wend.cli`` that calls it.
"""
