"""Objects as groups of patches that are alike: TokenCut, MaskCut, LOST and background seeds.

A patch is a token of a transformer, or a cell of a convolutional network's map. Each method is a
module with a function from an image's descriptors to its regions; it looks at one image alone.
"""
