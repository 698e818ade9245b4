"""The names of columns: a word and perhaps a number, and what each word means."""

from __future__ import annotations

import re

IMAGES = (
    "imgpath imagepath filename file filepath image imagename imagefile imageid img imgname "
    "imgid name path fname key"
).split()  # the earlier is preferred
CLASSES = frozenset(
    "class classes cls classid classids classidx classindex classname classnumber label labels "
    "labelid labelidx labelname index indices idx pred preds prediction predictions predclass "
    "predlabel predlabels predidx predindex predictedclass predictedlabel predictedindex category "
    "categoryid categoryname".split()
)
SCORES = frozenset(
    "score scores prob probs probability probabilities conf confs confidence confidences logit "
    "logits output outputs softmax predscore predscores predprob predprobs classscore "
    "classprob".split()
)
RANKS = frozenset(("rank", "ranks"))


def word_and_number(name: str) -> tuple[str, int | None]:
    """A column's word, without case, signs and "top", and its number."""
    numbers = re.findall(r"[0-9]+", name)
    plain = re.sub(r"[^a-z]", "", name.lower())
    if len(numbers) > 1 or (numbers and len(numbers[0]) > 9):
        return name, None  # no such word
    bare = plain.removeprefix("top").removesuffix("top").removesuffix("topk")
    return bare or ("class" if plain else ""), int(numbers[0]) if numbers else None


def is_image_column(name: str) -> bool:
    """Whether a column of this name holds the images' names."""
    word, number = word_and_number(name)
    return number is None and word in IMAGES


def is_known_column(name: str) -> bool:
    """Whether the name is one of those that columns of images, classes, scores or ranks have."""
    word, _ = word_and_number(name)
    return is_image_column(name) or word in CLASSES or word in SCORES or word in RANKS
