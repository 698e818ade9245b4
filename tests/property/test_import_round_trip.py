"""A declared data set: YAML -> ``wend data import`` -> the store that a training is given."""

import pytest
from data_sets import coco, image_sets, names, same_records, write_images, write_lines
from hypothesis import strategies as st
from property_cases import cases, scratch
from test_truth_round_trips import expected

from wend.datasets.catalog import DataSets
from wend.datasets.importing import import_data_set
from wend.files import write_json

declared_names = names.filter(lambda name: name.strip() and not name.endswith((".yaml", ".yml")))


@cases(times=0.6, images=image_sets(), name=declared_names, beside=st.booleans())
def test_a_declared_data_set_is_imported(images, name, beside):
    """YAML -> ``wend data import`` -> what a training asks for."""
    with scratch() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(folder / "data"))
        patch.setenv("WEND_STORES", str(folder / "stores"))
        patch.chdir(folder)
        root = folder / "data/images"
        sizes = write_images(root, images)
        write_json(folder / "data/truth.json", coco(images))
        dots = "./" if beside else ""
        lines = [
            "format: folder",
            f"images: {dots}images",
            f"annotations: {dots}truth.json",
        ]
        quoted = "".join(f"\\U{ord(char):08x}" for char in name)
        write_lines(folder / "data/any.yaml", [f'name: "{quoted}"', *lines])
        order = sorted(range(len(images)), key=lambda i: images[i].path.split("/"))
        wanted = expected([images[i] for i in order], root, [i + 3 for i in order])
        with mock_header_sizes(sizes):
            import_data_set(DataSets(), name, implausible="count")
        with pytest.MonkeyPatch.context() as no_reading:
            no_reading.setattr("wend.formats.listed_truth.read_coco_truth", None)
            records = DataSets().get(name)
        assert records.reopen is not None
        same_records(records, wanted)


def mock_header_sizes(sizes):
    """Sizes of files that are no images, where an import sets its own table of known ones."""
    patch = pytest.MonkeyPatch.context()

    class Patched:
        def __enter__(self):
            opened = patch.__enter__()
            opened.setattr("wend.images.sizes.read_image_size", lambda path, exif: sizes[str(path)])

        def __exit__(self, *error):
            return patch.__exit__(*error)

    return Patched()
