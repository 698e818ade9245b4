"""The entries ``WEND.DATA.*``: the treatment of bad images, and the cache of resized images."""

from pathlib import Path

from wend.config.entries import POSITIVE, SHARE, Entry, Range, config_entries, one_of
from wend.structures.records import DECODERS, MAX_MEGAPIXELS

DATA = (
    Entry(
        "ON_BAD_IMAGE",
        "raise",
        'A training image that cannot be read: "raise" ends the run, "skip" takes the next image '
        "instead, counts and names it, up to MAX_BAD_SHARE.",
        one_of("raise", "skip"),
    ),
    Entry(
        "MAX_BAD_SHARE",
        0.001,
        'Share of the training images that "skip" may skip; more end the run.',
        SHARE,
    ),
    Entry(
        "MAX_MEGAPIXELS",
        MAX_MEGAPIXELS,
        "Images that state more pixels, in millions, are not decoded: a small file can state one "
        "that fills the memory. For photos of 108 or 200 megapixels set 250.0.",
        POSITIVE,
    ),
    Entry(
        "QUARANTINE",
        "",
        "File of training images to leave out: of `wend data check`, or a key or path per line.",
        Range("an existing file, or nothing", lambda x: not x or Path(x).is_file()),
    ),
    Entry(
        "MAX_LOST_SHARE",
        0.2,
        "Share of the boxes to learn from that may be lost in the first epoch (fractions taken for "
        "pixels, thinner than a pixel, cut off by the random crop); more end the run, and so does "
        "none that is left.",
        SHARE,
    ),
    Entry(
        "ON_BAD_TEST_IMAGE",
        "raise",
        'A test image that cannot be read: "raise" ends the run, "wrong" counts it as an image '
        "without detections. It is never left out.",
        one_of("raise", "wrong"),
    ),
    Entry(
        "IMPLAUSIBLE",
        "error",
        "Boxes and image sizes that cannot be what they should be (outside the image, fractions, "
        'another copy, not the files\' sizes): "error" ends the run at its start, "count" says it '
        "and goes on.",
        one_of("error", "count"),
    ),
    Entry(
        "DECODER",
        "pillow",
        "How training images become squares: by Pillow, or in about 0.7 of the time by simplejpeg "
        "(an extra) and torch, whose pixels differ by at most 1 of 255; simplejpeg-scaled also "
        "reads JPEGs of twice RESIZE and more at a fraction of their size. Test images: pillow.",
        one_of(*DECODERS),
    ),
    Entry(
        "CACHE",
        "",
        "Folder of images resized to RESIZE², filled at first use or by `wend data cache`; "
        "empty: none.",
        Range(
            "a folder, or a path where one can be made",
            lambda x: not x or not Path(x).exists() or Path(x).is_dir(),
        ),
    ),
)

config_entries("DATA", DATA)
