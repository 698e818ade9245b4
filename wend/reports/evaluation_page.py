"""The page of ``wend evaluate --page``: the numbers of an evaluation from files, and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wend.evaluation.scoring import ProtocolScores
from wend.reports.gallery import Shown, detector_choices
from wend.reports.page import Page, Section, Table, Words
from wend.reports.page_parts import score_figures, score_part
from wend.reports.roles import OURS, PSEUDO, TRUTH
from wend.reports.words import how, verdict
from wend.structures.data_set import DataSet


def evaluation_page(
    scored: str,
    scores: Mapping[str, ProtocolScores],
    *,
    located: DataSet | None,
    why_no_images: str = "",
    number: int = 6,
    notes: Sequence[str] = (),
    inputs: Mapping[str, Any] | None = None,
    tables: Sequence[Table] = (),
) -> Page:
    """The page of an evaluation.

    Args:
        scored: the name of the detections or score maps.
        scores: by protocol name.
        located: the data set with the paths of its image files; None to show no images.
        why_no_images: said where none are shown.
        number: images of each gallery.
        notes: lines below the numbers.
        inputs: names and hashes of the files read, as ``metrics.json`` has them.
        tables: further tables of numbers.
    """
    first = next(iter(scores.values()))
    per_image, data_set = first.per_image, first.per_image.data_set
    caption = f"{scored} on {data_set.name}: {len(data_set)} images; per cent."
    table = score_part(scores, None, notes, caption)
    sections = [Section("Numbers", [table, *tables, score_figures(scores)])]
    galleries: list[Any] = []
    missing = []
    if located is not None:
        pseudo = located.pseudo_boxes
        shown = Shown(located, [(OURS, per_image.ranked)], None, first.ks[0] or 5, per_image)
        choices = detector_choices(per_image.ranked, pseudo, per_image, None, number)
        made = (shown.gallery(choice, number) for choice in choices)
        galleries = [gallery for gallery in made if gallery is not None]
        why_no_images = "" if galleries else "none of those that were looked for is there"
    if why_no_images:
        missing.append(f"images: {why_no_images}")
    if galleries:
        sections.append(Section("Images", galleries))
    sections.append(Section("Files", [_files(inputs or {})]))
    roles = [(TRUTH, TRUTH.title), (PSEUDO, PSEUDO.title), (OURS, "detections, best box thick")]
    if located is None or not len(located.pseudo_boxes.boxes):
        del roles[1]
    return Page(
        f"Evaluation of {scored}",
        f"Asked: how well {scored} finds the objects of {len(data_set)} images of {data_set.name}.",
        verdict(first, data_set.name),
        how(first),
        sections,
        missing,
        roles if galleries else (),
    )


def _files(inputs: Mapping[str, Any]) -> Table | Words:
    """What was read: the part that a file plays, its name and its SHA-256."""
    rows = []
    for part, entry in inputs.items():
        digests = entry["sha256"]
        if isinstance(digests, str):
            digests = {"": digests}
        for name, digest in digests.items():
            rows.append([part.replace("_", " "), name or str(entry["name"]), digest[:16]])
    if not rows:
        return Words(["No files are named."])
    return Table(["input", "name", "SHA-256 begins"], rows, "What the numbers follow from.")
