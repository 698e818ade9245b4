"""A YAML file is a data set's name, and its faults are named."""

import json
from pathlib import Path

import pytest
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.datasets.declared import FORMATS, read_declaration
from wend.errors import InputError, MissingFileError
from wend.user_code import load_module

EXAMPLES = Path(__file__).parents[2] / "datasets"


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    """DETECTRON2_DATASETS, and nothing declared elsewhere."""
    (tmp_path / "root").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("WEND_DATASETS", raising=False)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    return tmp_path / "root"


def image(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def write(path, text="format: folder\nimages: photos\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_below_the_root_is_a_name(root):
    image(root / "photos/a.png")
    write(root / "holiday.yaml")
    assert "holiday" in DataSets().names()
    data_set = DataSets().get("holiday")
    (record,) = data_set
    assert (record.key, record.width) == ("a.png", 20)
    assert record.file_name == str(root / "photos/a.png")
    assert (data_set.name, data_set.train_on) == ("holiday", "gt_boxes")


def test_folders_of_the_environment_and_the_working_directory_are_searched(
    root, tmp_path, monkeypatch
):
    for number, folder in enumerate(("one", "two", "cwd/datasets")):
        write(tmp_path / folder / f"set{number}.yaml", "format: folder\nimages: ./photos\n")
        image(tmp_path / folder / "photos" / f"{number}.png")
    monkeypatch.setenv("WEND_DATASETS", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    assert [n for n in DataSets().names() if n.startswith("set")] == [
        "set0",
        "set1",
        "set2",
    ]
    for number in range(3):  # "./photos" is beside each file
        assert [r.key for r in DataSets().get(f"set{number}")] == [f"{number}.png"]
    monkeypatch.setenv("WEND_DATASETS", "")
    assert "set0" not in DataSets().names()
    with pytest.raises(InputError, match="unknown data set 'set0'"):
        DataSets().get("set0")


def test_a_path_stands_for_the_name_which_is_known_from_then_on(tmp_path):
    path = write(tmp_path / "deep/own.yaml", "name: mine\nformat: folder\nimages: ./photos\n")
    image(tmp_path / "deep/photos/a.png")
    data_sets = DataSets()
    assert data_sets.own_name(str(path)) == "mine"
    assert "mine" in data_sets.names()
    assert "mine" not in DataSets().names()
    assert [r.key for r in data_sets.get(str(path))] == ["a.png"]
    assert data_sets.get("mine") is data_sets.get(str(path))
    assert data_sets.own_name("cub_train") == "cub_train"
    with pytest.raises(MissingFileError, match=r"gone\.yaml: there is no such file"):
        data_sets.get(str(tmp_path / "gone.yaml"))


def test_two_paths_of_one_name_are_an_error_and_not_the_first(tmp_path):
    data_sets = DataSets()
    paths = [tmp_path / folder / "own.yaml" for folder in ("a", "b")]
    for path in paths:
        write(path, "name: mine\nformat: folder\nimages: ./photos\n")
        image(path.parent / "photos/a.png")
        data_sets.own_name(str(path))
    with pytest.raises(InputError, match=f"'mine' is declared 2 times .{paths[0]}, {paths[1]}"):
        data_sets.get(str(paths[1]))


def test_a_second_file_of_a_name_that_is_loaded_is_an_error_too(tmp_path):
    data_sets = DataSets()
    paths = [tmp_path / folder / "own.yaml" for folder in ("a", "b")]
    for path in paths:
        write(path, "name: mine\nformat: folder\nimages: ./photos\n")
        image(path.parent / "photos/a.png")
    assert data_sets.get(str(paths[0])) is data_sets.get(str(paths[0]))
    with pytest.raises(InputError, match="'mine' is declared 2 times"):
        data_sets.get(str(paths[1]))


def test_folders_that_are_given_are_searched_too(tmp_path):
    write(tmp_path / "more/own.yaml", "format: folder\nimages: ./photos\n")
    image(tmp_path / "more/photos/a.png")
    data_sets = DataSets(folders=[tmp_path / "more"])
    assert "own" in data_sets.names()
    assert len(data_sets.get("own")) == 1
    assert "own" not in DataSets().names()


def test_a_name_declared_twice_names_both_files(root, tmp_path, monkeypatch):
    one = write(root / "one.yaml", "name: same\nformat: folder\nimages: a\n")
    two = write(tmp_path / "more/two.yaml", "name: same\nformat: folder\nimages: b\n")
    monkeypatch.setenv("WEND_DATASETS", str(tmp_path / "more"))
    with pytest.raises(InputError, match=f"'same' is declared 2 times \\({two}, {one}\\)"):
        DataSets().get("same")
    monkeypatch.setenv("WEND_DATASETS", str(root))  # one folder named twice is one folder
    two.unlink()
    with pytest.raises(MissingFileError, match=r"one\.yaml: .*/a: there is no such folder"):
        DataSets().get("same")


def test_a_name_that_is_built_in_cannot_be_declared(root):
    path = write(root / "cub_test.yaml")
    with pytest.raises(InputError, match=f"'cub_test' is built in .*, and {path} declares it"):
        DataSets().get("cub_test")


def test_an_unknown_name_lists_the_declared_ones_and_files_that_declare_nothing(root):
    write(root / "holiday.yaml")
    write(root / "data.yaml", "train: yolo/images\nnc: 3\n")  # another program's
    write(root / "broken.yml", "format: [folder\n")
    message = (
        r"unknown data set 'holidy'\. Did you mean 'holiday'\? Known: cub_test, .*holiday, .*"
        r"key 'format': .*broken\.yml, .*data\.yaml\)"
    )
    with pytest.raises(InputError, match=message):
        DataSets().get("holidy")
    assert "data" not in DataSets().names()


def test_a_wrong_file_ends_no_other_data_set(root):
    image(root / "photos/a.png")
    write(root / "good.yaml")
    write(root / "bad.yaml", "format: folder\nimage: photos\n")
    assert len(DataSets().get("good")) == 1
    with pytest.raises(InputError, match=r"bad\.yaml, line 2: key 'image': unknown"):
        DataSets().get("bad")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("format: folder\nimage: x\n", "line 2: key 'image': unknown for format folder; known: .*"
         r"Did you mean 'images'\?"),
        ("format: folder\nimages: x\nsplit: train\n", "line 3: key 'split': unknown for"),
        ("format: foldr\nimages: x\n", r"line 1: key 'format': expected one of .*'folder'\?"),
        ("images: x\n", r": key 'format': expected one of cub, imagenet, .*, got None"),
        ("format: cub\nimages: x\n", r"key 'split': is missing; format cub needs images, split"),
        ("format: folder\nimages: 3\n", "line 2: key 'images': expected text, got 3"),
        ("format: folder\nimages:\n", "line 2: key 'images': expected text, got None"),
        ("format: folder\nimages: x\nimages: y\n", "the key 'images' stands already in line 2"),
        ("format: folder\nimages: x\ntrain_on: boxes\n", "line 3: key 'train_on': expected one of"),
        ("format: folder\nimages: x\ntrain_on: pseudo_boxes\n", "needs the key 'pseudo_boxes'"),
        ("format: folder\nimages: x\npseudo_boxes: c2am\n", "line 3: key 'pseudo_boxes': exp"),
        ("format: folder\nimages: x\npseudo_boxes: {source: c2am}\n", "mapping with source and"),
        ("format: folder\nimages: x\nname: a/b\n", "line 3: key 'name': expected a name"),
        ("format: folder\nimages: x\nname: b.yaml\n", "line 3: key 'name': expected a name"),
        ("- format: folder\n", "expected a mapping of keys"),
        ("", "expected a mapping of keys"),
        ("format: 'x\n", "cannot be read as YAML"),
        ("format: folder\nimages: !!python/name:os.system x\n", "line 2: could not determine"),
        ("format: folder\nimages: &a [*a]\n", "line 2"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_named_with_line_and_key(tmp_path, text, problem):
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(InputError, match=rf"^{path}.*{problem}"):
        read_declaration(path)


def test_relative_paths_start_below_the_root_or_beside_the_file(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    declaration = read_declaration(write(tmp_path / "x/a.yaml"))
    assert declaration.resolve("photos", root) == root / "photos"
    assert declaration.resolve("./photos", root) == tmp_path / "x/photos"
    assert declaration.resolve("../photos", root).resolve() == tmp_path / "photos"
    assert declaration.resolve("/data/photos", root) == Path("/data/photos")
    assert declaration.resolve("~/photos", root) == tmp_path / "home/photos"


def test_a_readers_error_names_the_declaration(root):
    path = write(root / "a.yaml")
    with pytest.raises(MissingFileError, match=rf"^{path}: {root / 'photos'}: there is no such"):
        DataSets().get("a")


def test_every_format_is_read_by_name(root, write_cub):
    write_cub(root)
    write(root / "my_cub.yaml", "format: cub\nimages: CUB_200_2011\nsplit: test\n")
    image(root / "inet/n01440764/x.JPEG")
    write(root / "my_inet.yaml", "format: imagenet\nimages: inet\n")
    image(root / "oi/val/a.jpg")
    write(root / "lists/image_ids.txt", "val/a.jpg\n")
    write(root / "my_oi.yaml", "format: openimages\nimages: oi\nlists: lists\n")
    write(root / "my_wsol.yaml", "format: wsoleval\nimages: oi\nlists: lists\n")
    truth = {"images": [{"id": 3, "file_name": "val/a.jpg", "width": 20, "height": 10}]}
    write(root / "t.json", json.dumps(truth | {"annotations": [], "categories": []}))
    write(root / "my_coco.yaml", "format: coco\nimages: oi\nannotations: t.json\n")
    write(root / "my_folder.yaml", "format: folder\nimages: oi\nclasses: none\n")
    found = {name: DataSets().get(f"my_{name}")[0].key
             for name in ("cub", "inet", "oi", "wsol", "coco", "folder")}  # fmt: skip
    assert found == {
        "cub": "002.Gull/gull_a.png",
        "inet": "n01440764/x.JPEG",
        **dict.fromkeys(("oi", "wsol", "coco", "folder"), "val/a.jpg"),
    }
    assert len(found) == len(FORMATS)


def test_pseudo_boxes_are_attached_and_trained_on(root, write_cub, write_c2am):
    write_cub(root)
    write_c2am(root / "boxes", {"x/train/002.Gull/gull_b.png": [0.25, 0, 0.5, 1]})
    text = "format: cub\nimages: CUB_200_2011\nsplit: train\npseudo_boxes:\n  source: c2am\n"
    write(root / "mine.yaml", f"{text}  path: boxes\n")
    mine = DataSets().get("mine")
    assert mine.train_on == "pseudo_boxes"
    assert mine.training_boxes.counts.tolist() == [0, 1]
    # an 8x8 image: 0.25·8, 0, 0.75·8, 8
    assert mine.training_boxes[1].tolist() == [[2, 0, 6, 8]]
    write(root / "upper.yaml", f"{text}  path: boxes\ntrain_on: gt_boxes\n")
    upper = DataSets().get("upper")
    assert upper.train_on == "gt_boxes"
    assert upper.training_boxes.counts.tolist() == [1, 1]
    write(root / "wrong.yaml", f"{text}  path: boxes\n  colour: red\n")
    with pytest.raises(InputError, match=r"wrong\.yaml: box source 'c2am': .*'colour'"):
        DataSets().get("wrong")


def test_a_box_source_of_ones_own_beside_the_file(root, write_cub):
    write_cub(root)
    write(
        root / "own.py",
        "from wend.pseudo_boxes import PseudoBoxes\n"
        "def read(path, scale):\n"
        "    boxes = {'002.Gull/gull_b.png': [[0, 0, scale, 2 * scale]]}\n"
        "    return PseudoBoxes.from_dict(boxes, frame='pixel')\n",
    )
    write(
        root / "mine.yaml",
        "format: cub\nimages: CUB_200_2011\nsplit: train\n"
        "pseudo_boxes: {source: './own.py:read', path: ./own.py, scale: 3}\n",
    )
    with pytest.raises(
        InputError, match=r"mine\.yaml: pseudo_boxes: source: names the code \./own"
    ):
        DataSets().get("mine")
    load_module(str(root / "own.py"))  # as --import does
    assert [r.pseudo_boxes.tolist() for r in DataSets().get("mine")] == [[], [[0, 0, 3, 6]]]


@pytest.mark.parametrize("source", ["os:system", "subprocess:call", "torch:load", "numpy:load"])
def test_a_declaration_cannot_call_functions_of_libraries(root, write_cub, source):
    """With a path and options of its own, such a function would run anything."""
    write_cub(root)
    write(
        root / "mine.yaml",
        "format: cub\nimages: CUB_200_2011\nsplit: train\n"
        f"pseudo_boxes: {{source: '{source}', path: './; touch {root}/trace'}}\n",
    )
    with pytest.raises(
        InputError, match=rf"mine\.yaml: .*names the code {source.partition(':')[0]}"
    ):
        DataSets().get("mine")
    assert not (root / "trace").exists()


def test_sources_are_the_file_and_all_it_names(root, tmp_path):
    path = write(
        tmp_path / "x/a.yaml",
        "format: imagenet\nimages: train\nannotations: ./xml\nclasses: c.txt\n"
        "pseudo_boxes: {source: c2am, path: boxes}\n",
    )
    assert DataSets().sources(str(path)) == [
        path, root / "train", tmp_path / "x/xml", root / "c.txt", root / "boxes",
    ]  # fmt: skip
    assert DataSets().sources("cub_train_c2am") == [
        root / "CUB_200_2011",
        root / "CUB_200_2011/images",
        root / "c2am_boxes/train/pseudo_boxes",
    ]


# ---- the examples in datasets/ ----


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_right_and_the_readme_lists_them(path):
    declaration = read_declaration(path)
    assert declaration.name == path.stem
    assert f"| `{path.stem}` | `{path.name}` |" in (EXAMPLES / "README.md").read_text()


def test_the_examples_read_what_the_readme_says(root, tmp_path, monkeypatch, write_cub, write_c2am):
    monkeypatch.setenv("WEND_DATASETS", str(EXAMPLES))
    image(root / "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_1.JPEG")
    image(root / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000293.JPEG")
    write_c2am(
        root / "c2am_boxes_imagenet/train/pseudo_boxes",
        {"/x/train/n01440764/n01440764_1.JPEG": [0.5, 0, 0.5, 1]},
    )
    write(
        root / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000293.xml",
        "<annotation><size><width>20</width><height>10</height></size><object><name>n01440764"
        "</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>"
        "</annotation>",
    )
    write_cub(root)
    moco = {  # folder -> image
        "c2am_moco_boxes/train": "002.Gull/gull_b.png",
        "c2am_moco_boxes/test": "002.Gull/gull_a.png",
        "c2am_moco_boxes_imagenet/train": "n01440764/n01440764_1.JPEG",
        "c2am_moco_boxes_imagenet/val": "n01440764/ILSVRC2012_val_00000293.JPEG",
    }
    for folder, name in moco.items():
        write_c2am(root / folder / "pseudo_boxes", {f"/moco/{name}": [0, 0, 1, 1]})
    write(root / "cub_boxes.json", json.dumps({
        "images": [{"id": 1, "file_name": "002.Gull/gull_b.png", "width": 8, "height": 8}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "fg"}],
    }))  # fmt: skip
    image(root / "my_photos/images/cat/a.png")
    write(root / "my_photos/boxes.json", json.dumps({
        "images": [{"id": 1, "file_name": "cat/a.png", "width": 20, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "fg"}],
    }))  # fmt: skip
    image(root / "OpenImages/test/0a/1.jpg")
    image(root / "OpenImages/test/0a/1_m.png")
    write(root / "wsol_metadata/OpenImages/test/image_ids.txt", "test/0a/1.jpg\n")
    write(
        root / "wsol_metadata/OpenImages/test/localization.txt", "test/0a/1.jpg,test/0a/1_m.png,\n"
    )
    (train,) = DataSets().get("imagenet_train_c2am")
    assert train.pseudo_boxes.tolist() == [[10, 0, 20, 10]]
    (val,) = DataSets().get("imagenet_val")
    assert (val.key, val.class_id) == ("n01440764/ILSVRC2012_val_00000293.JPEG", 0)
    assert val.gt_boxes.tolist() == [[1, 2, 9, 8]]
    (val,) = DataSets().get("imagenet_val_c2am_moco")
    assert (val.gt_boxes.tolist(), val.pseudo_boxes.tolist()) == ([[1, 2, 9, 8]], [[0, 0, 20, 10]])
    (train,) = DataSets().get("imagenet_train_c2am_moco")
    assert train.pseudo_boxes.tolist() == [[0, 0, 20, 10]]
    cub = DataSets().get("cub_train_c2am_moco")
    assert [len(r.pseudo_boxes) for r in cub] == [0, 1]
    (test,) = DataSets().get("cub_test_c2am_moco")
    assert len(test.pseudo_boxes) == len(test.gt_boxes) == 1
    cub = DataSets().get("cub_train_own_boxes")
    assert [r.pseudo_boxes.tolist() for r in cub] == [[], [[1, 2, 4, 6]]]
    (photo,) = DataSets().get("my_photos")
    assert (photo.image_id, photo.class_id, photo.gt_boxes.tolist()) == (1, 0, [[1, 2, 4, 6]])
    assert [r.key for r in DataSets().get("openimages_test")] == ["test/0a/1.jpg"]
