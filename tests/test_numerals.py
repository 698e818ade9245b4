"""Texts that Python reads as numbers and people do not."""

import pytest

from wend.numerals import check_digits, decimal_number, whole_number

SLIPS = ("4_00", "1_0.5", "１２", "٣", " 5", "5 ", "", "+", "1e", "0x10", "1,5", "--1", "five")


@pytest.mark.parametrize("text", [*SLIPS, "1e3", "1.0", "nan", "9" * 5000])
def test_no_whole_number(text):
    with pytest.raises(ValueError, match="expected a whole number such as 400, got"):
        whole_number(text)


@pytest.mark.parametrize("text", [*SLIPS, "nan", "inf", "-Infinity", "1e400"])
def test_no_decimal(text):
    with pytest.raises(ValueError, match=r"expected a finite number such as 0\.5 or 1e-3, got"):
        decimal_number(text)


@pytest.mark.parametrize("text", ["0", "-3", "+4", "007", "123456789012345678901"])
def test_whole_numbers(text):
    assert whole_number(text) == int(text)


@pytest.mark.parametrize("text", ["0", "-3", "+4.", ".5", "1e3", "1.5E-3", "00.1"])
def test_decimals(text):
    assert decimal_number(text) == float(text)


def test_many_texts_at_once():
    check_digits(["1", " 2.5 ", "-3e4"])
    with pytest.raises(ValueError, match="got '4_00'"):
        check_digits(["1", "4_00", "2"])
    with pytest.raises(ValueError, match="got '１'"):
        check_digits(["1", "１"])
