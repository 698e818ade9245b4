"""README's picture: photos that scikit-image ships, the border prior's boxes, and a run's.

``python projects/reproduce/readme_picture.py RUN --output docs/photos.png``. The detector has not
seen these photos; what RUN was trained on is said where the picture stands.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import wend
from wend.reports.draw import draw_boxes, draw_detections, draw_legend
from wend.reports.roles import OURS, PSEUDO

PHOTOS = ("chelsea", "coffee", "stereo_motorcycle", "rocket")
HEIGHT, LEGEND_HEIGHT, GAP = 240, 32, 8  # pixels


def photos() -> dict[str, Image.Image]:
    """The photos by name, of height HEIGHT; needs scikit-image, which nothing else here does."""
    import skimage.data

    resized = {}
    for name in PHOTOS:
        pixels = getattr(skimage.data, name)()
        image = Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels)  # left, right
        size = (round(image.width * HEIGHT / image.height), HEIGHT)
        resized[name] = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return resized


def border_boxes(images: dict[str, Image.Image]) -> dict[str, np.ndarray]:
    """Boxes (1, 4) of ``wend pseudo-boxes --method border``, xyxy in pixels, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, image in images.items():
            image.save(Path(folder) / f"{name}.png")
        method = ("pseudo-boxes", "--method", "border", "--images", folder)
        command = [sys.executable, "-m", "wend", *method, "--output", f"{folder}/boxes"]
        subprocess.run(command, check=True)
        coco = json.loads((Path(folder) / "boxes/train/pseudo_boxes.json").read_text("utf-8"))
    names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    boxes = {names[row["image_id"]]: np.array([row["bbox"]]) for row in coco["annotations"]}
    return {name: np.hstack([box[:, :2], box[:, :2] + box[:, 2:]]) for name, box in boxes.items()}


def main() -> None:
    """Draw the photos side by side above a legend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="what wend.load takes")
    parser.add_argument("--output", type=Path, default=Path("docs/photos.png"))
    parser.add_argument("--min-score", type=float, default=0.4)
    args = parser.parse_args()
    images = photos()
    pseudo_boxes = border_boxes(images)
    width = sum(image.width + GAP for image in images.values()) - GAP
    sheet = Image.new("RGB", (width, HEIGHT + LEGEND_HEIGHT), "white")
    left = 0
    for (name, image), predicted in zip(
        images.items(), wend.load(args.run)(images.values()), strict=True
    ):
        kept = predicted.above(args.min_score)
        draw_boxes(image, pseudo_boxes[name], PSEUDO)
        draw_detections(image, kept.xyxy, kept.scores)
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    draw_legend(sheet, [(PSEUDO, PSEUDO.title), (OURS, OURS.title)], 0, HEIGHT + LEGEND_HEIGHT // 2)
    sheet.quantize(255).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
