"""One module for each kind of box file; a reader registers itself with ``box_source``."""
