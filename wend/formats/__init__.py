"""Truth files of others, one module for each format, to records of images."""
