"""Truth files of others, one module for each format, as data sets made of columns.

May import ``images``, ``structures`` and what is below them. One more format is a module with a
function that returns a ``DataSet`` and, where it reads images' headers, takes a ``SizeReader``;
``wend.datasets.declared.FORMATS`` gives it a name.
"""
