"""Maps and masks of objects refined by an image's colours."""
