"""The JSON schema accepts the configs, and refuses what the entries' own checks refuse."""

import copy
import re

import pytest
import yaml
from engine_runs import REPOSITORY
from test_config import RANGES

from wend.config.detectron2_entries import DETECTRON2_NODES
from wend.config.schema import config_schema
from wend.run import value_of
from wend.tv.config import get_cfg

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = config_schema(get_cfg(), is_whole=False)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


def nested(name, value):
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def listed(value):
    return list(map(listed, value)) if isinstance(value, list | tuple) else value


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_all_configs_are_accepted():
    assert len(CONFIGS) > 50
    for path in CONFIGS:
        errors = list(VALIDATOR.iter_errors(yaml.safe_load(path.read_text("utf-8"))))
        assert not errors, f"{path}: {errors[0].message}"


def test_what_a_run_writes_is_accepted():
    assert VALIDATOR.is_valid(yaml.safe_load(get_cfg().dump()))


@pytest.mark.detectron2
def test_with_detectron2_nothing_else_is_accepted_and_all_configs_are():
    from wend.d2.run import default_config

    validator = jsonschema.Draft7Validator(config_schema(default_config(), is_whole=True))
    for path in CONFIGS:
        errors = list(validator.iter_errors(yaml.safe_load(path.read_text("utf-8"))))
        assert not errors, f"{path}: {errors[0].message}"
    assert validator.is_valid({"SOLVER": {"CLIP_GRADIENTS": {"ENABLED": True}}})
    assert not validator.is_valid({"SOLVER": {"CLIP_GRADIENT": {"ENABLED": True}}})
    assert not validator.is_valid({"SOLVR": {}})


# checked against other entries, other files or lists of names, none of which a schema knows
TOGETHER = ("WEND.MAX_BOXES", "WEND.PROTOCOLS", "WEND.METRICS", "WEND.DATA.QUARANTINE")
BEYOND = (
    *TOGETHER,
    *("WEND.DATA.CACHE", "WEND.DATA.FEATURE_CACHE"),
    *("MODEL.RPN.POSITIVE_FRACTION", "MODEL.ROI_HEADS.POSITIVE_FRACTION"),
    *("MODEL.RPN.IOU_THRESHOLDS", "MODEL.ROI_HEADS.IOU_THRESHOLDS"),
)


@pytest.mark.parametrize(
    ("name", "bad", "good"), RANGES, ids=[f"{row[0]}-{i}" for i, row in enumerate(RANGES)]
)
def test_each_entrys_range_is_the_schemas(name, bad, good):
    for value in good:
        assert VALIDATOR.is_valid(nested(name, listed(value))), value
    for value in bad if name not in BEYOND else ():
        is_json = not {"nan", "inf"} & set(re.findall(r"[a-z]+", repr(value)))
        assert not is_json or not VALIDATOR.is_valid(nested(name, listed(value))), value


@pytest.mark.parametrize(
    "wrong",
    [
        {"WEND": {"GAMA": 2.0}},
        {"WEND": {"FCOS": {"NORMS": "GN"}}},
        {"WEND": {"ETA": "much"}},
        {"WEND": {"EPOCHS": 1.5}},
        {"WEND": {"CLN": {"NORMALIZE_FEATURES": 1}}},
        {"WEND": {"PROTOCOLS": "original"}},
        {"WEND": {"FCOS": {"IN_FEATURES": [3]}}},
        {"WEND": {"DETACH_WEIGHT": True}},
        {"WEND": 3},
        {"MODEL": {"RPN": {"IOU_THRESHOLDS": [0.3, 1.5]}}},
        {"SOLVER": {"BASE_LR": 0.0}},
        {"SOLVER": {"IMS_PER_BATCH": 0}},
        {"_BASE_": 1},
        [],
    ],
    ids=str,
)
def test_wrong_keys_types_and_values_are_refused(wrong):
    assert not VALIDATOR.is_valid(wrong)


def test_a_list_may_be_written_as_python_writes_it():
    assert VALIDATOR.is_valid({"DATASETS": {"TRAIN": '("cub_train_c2am",)'}})
    assert not VALIDATOR.is_valid({"DATASETS": {"TRAIN": "cub_train_c2am"}})


def test_defaults_of_the_tables_are_the_engines():
    cfg = copy.deepcopy(get_cfg())
    for node, entries in DETECTRON2_NODES.items():
        for entry in entries:
            name = f"{node}.{entry.name}" if node else entry.name
            assert listed(value_of(cfg, name)) == listed(entry.default), name


@pytest.mark.detectron2
def test_defaults_of_the_tables_are_detectron2s():
    from detectron2.config import get_cfg as detectron2s

    cfg = detectron2s()
    for node, entries in DETECTRON2_NODES.items():
        for entry in entries:
            name = f"{node}.{entry.name}" if node else entry.name
            assert listed(value_of(cfg, name)) == listed(entry.default), name
