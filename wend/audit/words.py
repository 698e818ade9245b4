"""The words of an answer: right, wrong, unsure."""

from __future__ import annotations

from wend.errors import InputError, shown

RIGHT, WRONG, UNSURE, NONE = "right", "wrong", "unsure", ""
ANSWERS = (RIGHT, WRONG, UNSURE)
SHORT = {answer[0]: answer for answer in ANSWERS}


def parse_answer(text: str, where: str) -> str:
    """An answer of a human: right, wrong, unsure, or their first letters; empty for none.

    Raises:
        InputError: another word.
    """
    word = text.strip().lower()
    answer = SHORT.get(word, word)
    if answer not in (*ANSWERS, NONE):
        raise InputError(f"{where}: expected right, wrong, unsure or nothing, got {shown(text)}")
    return answer
