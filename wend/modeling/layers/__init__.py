"""Pure-torch parts that the engines share."""
