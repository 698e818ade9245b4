"""``wend data import``: a data set is read once from its files and kept as a store."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from wend.datasets.catalog import DataSets
from wend.datasets.fingerprints import changes, fingerprint
from wend.datasets.known_sizes import FROM_HEADERS, STARTED, KnownSizes
from wend.datasets.plausible_truth import check_plausible
from wend.datasets.store import INFO_FILE, lacks_scores, open_store, read_info, stores_folder
from wend.errors import InputError, some
from wend.images.sizes import SizeReader

logger = logging.getLogger(__name__)


def import_data_set(
    data_sets: DataSets,
    name: str,
    stores: str | Path | None = None,
    *,
    force: bool = False,
    implausible: str | None = None,
) -> None:
    """Read a data set once and write its store, unless there is one that is as its sources are.

    Args:
        data_sets: where the name is looked up.
        name: a known data set, or the YAML file that declares it.
        stores: folder of the stores; by default where training looks for them.
        force: import in any case, and read all image sizes again.
        implausible: "count" to import boxes that cannot be what they should be, too.

    Raises:
        InputError: what the data set's readers say, sources that are unknown, a full disk,
            implausible boxes or sizes.
    """
    root, name = data_sets.root, data_sets.own_name(name)
    sources = data_sets.sources(name)
    folder = (Path(stores) if stores else stores_folder(root)) / name
    if not sources:
        raise InputError(
            f"data set {name!r}: was registered without its sources, so an import could not be "
            f"told from an old one; give register_records(..., sources=...)"
        )
    fingerprints = [fingerprint(path, root) for path in sources]  # before reading: what changes
    done = "" if force else _nothing_to_do(folder, fingerprints, root)  # meanwhile is seen later
    if done:
        logger.info("%s: %s", name, done)
        return
    info = _write(data_sets, name, folder, fingerprints, force, implausible)
    counts = info["counts"]
    logger.info(
        "%s: %d images; %d true boxes on %d, %d pseudo boxes on %d; %.1f MB in %s",
        name,
        counts["images"],
        counts["gt_boxes"],
        counts["images_with_gt_boxes"],
        counts["pseudo_boxes"],
        counts["images_with_pseudo_boxes"],
        info["bytes"] / 1e6,
        folder,
    )


def _nothing_to_do(folder: Path, fingerprints: list[dict[str, Any]], root: Path) -> str:
    """The message if the store is as its sources are, else an empty text."""
    if not (folder / INFO_FILE).is_file():
        return ""
    try:
        store, info = open_store(folder, root), read_info(folder)
        changed, unscored = changes(info["sources"], fingerprints), lacks_scores(info)
    except (InputError, KeyError, TypeError) as error:
        logger.info("%s: cannot be used any more (%s); importing again", folder, error)
        return ""
    if changed:
        logger.info("%s: %s; importing again", folder, some(changed))
        return ""
    if unscored:
        logger.info("%s: was made without scores of boxes; importing again", folder)
        return ""
    return f"nothing to do: {len(store)} images, imported {info.get('made')}, in {folder}"


def _write(
    data_sets: DataSets,
    name: str,
    folder: Path,
    fingerprints: list,
    force: bool,
    implausible: str | None,
) -> dict[str, Any]:
    from wend.datasets.store_writer import write_store  # pyarrow is slow to import

    started, root = time.time_ns(), data_sets.root
    stores = sorted(folder.parent.iterdir()) if folder.parent.is_dir() and not force else []
    sizes = SizeReader(KnownSizes([folder, *stores] if stores else [], root))
    data_set = data_sets.read(name, sizes, implausible)
    from_headers = sizes.asked >= len(data_set)
    check_plausible(data_set, implausible, headers=not from_headers)
    more = {STARTED: started, FROM_HEADERS: from_headers}
    try:
        info = write_store(folder, data_set, root, name=name, sources=fingerprints, more=more)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); what was there before is as "
            f"it was. Free the disk, or choose another with --output"
        ) from error
    logger.info(
        "%s: %d image sizes read from headers, %d known from before",
        *(name, sizes.asked - sizes.reused, sizes.reused),
    )
    return info
