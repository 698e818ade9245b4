"""wend.parts and its crew: work that several processes share out is done once, and made one."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from crews import ThreadCrew, together
from torch.distributed import HashStore

from wend.errors import InputError, Interrupted, ToldError
from wend.launch.crew import Crew
from wend.parts import Parts, Shard

FORMAT, STEP = "wend-test-part-1", "numbers"
UNITS = [range(start, min(start + 3, 20)) for start in range(0, 20, 3)]


def row_of(row):
    return row["key"], row["n"]


def parts_of(folder, crew=None, shard=None, settings=None):
    output = folder.with_suffix(".json")
    return Parts(output, folder, FORMAT, settings or {"a": 1}, row_of, crew or Crew(), shard)


def work(folder, crew=None, shard=None, stop_after=None, settings=None):
    """Note the squares of 0..19 in units of three; returns the parts and what was worked on."""
    crew = crew or Crew()
    with crew, parts_of(folder, crew, shard, settings) as parts:

        def is_done(unit):
            return all(str(n) in parts.done for n in unit)

        mine = parts.share("squares", UNITS, is_done, len)
        for number, unit in enumerate(mine):
            if number == stop_after:
                raise KeyboardInterrupt
            parts.add([{"key": str(n), "n": n * n} for n in unit])
            parts.advance(len(unit))
        parts.end_step(STEP)
    return parts, mine


def merged(folder):
    with Parts.of_folder(folder.with_suffix(".json"), folder, FORMAT, row_of) as parts:
        return parts


def squares(parts):
    return parts.of_all([str(n) for n in range(20)], STEP)


EXPECTED = {str(n): n * n for n in range(20)}


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_crew_does_every_unit_once_and_the_main_process_has_all(tmp_path, size):
    results = together(size, lambda crew: work(tmp_path / "p", crew))
    assert sorted(unit.start for _, mine in results for unit in mine) == [u.start for u in UNITS]
    assert squares(results[0][0]) == EXPECTED
    assert len(list((tmp_path / "p").iterdir())) == min(size, len(UNITS))
    results[0][0].remove()
    assert not (tmp_path / "p").exists()


def test_an_interrupted_run_goes_on_with_another_number_of_processes(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt):
        together(3, lambda crew: work(tmp_path / "p", crew, stop_after=1 if crew.rank else None))
    caplog.set_level(logging.INFO, "wend")
    results = together(2, lambda crew: work(tmp_path / "p", crew))
    done_before = len(UNITS) - sum(len(mine) for _, mine in results)
    assert done_before >= 2
    assert "images are done" in caplog.text
    assert squares(results[0][0]) == EXPECTED
    parts, mine = work(tmp_path / "p")
    assert mine == []
    assert squares(parts) == EXPECTED


def test_shards_of_any_number_and_crews_in_them_make_the_whole(tmp_path):
    folder = tmp_path / "p"
    work(folder, shard=Shard(1, 3))
    with pytest.raises(
        InputError,
        match=r"14 of 20 images are not done \(0, 1, 2 and 11 more\); not "
        r"finished: shard 0/3, 2/3\. Run what is missing",
    ):
        squares(merged(folder))
    with pytest.raises(KeyboardInterrupt):
        work(folder, shard=Shard(0, 3), stop_after=1)
    assert merged(folder).open_shards(STEP) == "not finished: shard 0/3, 2/3"
    together(2, lambda crew: work(folder, crew, Shard(0, 2)))
    work(folder, shard=Shard(1, 2))
    assert (squares(merged(folder)), merged(folder).settings) == (EXPECTED, {"a": 1})


def test_other_settings_start_anew_but_never_beside_other_shards(tmp_path, caplog):
    folder = tmp_path / "p"
    work(folder, shard=Shard(0, 2))
    with pytest.raises(
        InputError, match=r"settings have changed \(a: 1, now 2\); remove .*p to start"
    ):
        work(folder, shard=Shard(1, 2), settings={"a": 2})
    with pytest.raises(InputError, match=r"remove .*p to start anew"):
        work(folder, settings={"a": 2})  # hours of many machines do not go for a word left out
    work(tmp_path / "q")
    parts, mine = work(tmp_path / "q", settings={"a": 2})
    assert len(mine) == len(UNITS)
    assert "(a: 1, now 2); starting anew" in caplog.text
    assert squares(parts) == EXPECTED


def test_a_part_that_is_none_costs_what_it_held_and_one_of_another_version_is_not_merged(
    tmp_path, caplog
):
    folder = tmp_path / "p"
    work(folder, shard=Shard(0, 2))
    work(folder, shard=Shard(1, 2))
    first, second = sorted(folder.iterdir())
    first.write_bytes(b"\0" * 4096 + b"\n")
    _, mine = work(folder)
    assert mine == UNITS[::2]
    assert "1 lines are damaged" in caplog.text
    second.write_text('{"format": "wend-test-part-0", "settings": {"a": 1}}\n')
    with pytest.raises(InputError, match="is a part of another version; remove"):
        work(folder, shard=Shard(0, 2))


def test_an_interruption_says_how_much_is_done(tmp_path):
    with pytest.raises(Interrupted) as first:
        work(tmp_path / "p", stop_after=2)
    assert str(first.value) == (
        "interrupted by Ctrl-C; squares: 6 of 20 images are done; the same command goes on where "
        "it stopped"
    )
    with pytest.raises(Interrupted, match=r"squares, shard 1/2: 6 of 9 images") as second:
        work(tmp_path / "p", shard=Shard(1, 2), stop_after=1)
    assert not second.value.is_told


def test_one_run_makes_an_output_and_only_shards_do_together(tmp_path):
    folder = tmp_path / "p"

    def refused(shard=None):
        """Whether another process may not begin."""
        code = (
            "import sys, pathlib; sys.path.insert(0, sys.argv[3])\n"
            "import test_shared_parts, wend.errors\n"
            "from wend.parts import Shard\n"
            "shard = Shard.parse(sys.argv[2]) if sys.argv[2] else None\n"
            "try:\n"
            "    path = pathlib.Path(sys.argv[1])\n"
            "    with test_shared_parts.parts_of(path, shard=shard): print('may')\n"
            "except wend.errors.InputError as error: print(error)\n"
        )
        words = [sys.executable, "-c", code, str(folder), shard or "", str(Path(__file__).parent)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    with parts_of(folder):
        assert "p.json: wend (process" in refused()
        assert "writes here now" in refused("0/2")
    with parts_of(folder, shard=Shard(0, 2)):
        assert refused("1/2") == "may\n"
        assert "shard-0-of-2: wend --shard 0/2 (process" in refused("0/2")
        assert "writes here now" in refused()
    assert refused() == "may\n"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_process_ends_the_others_without_a_word(tmp_path):
    def fail_on_second(crew):
        with crew:
            if crew.rank == 1:
                raise InputError("cannot be read")
            crew.wait()

    with pytest.raises(InputError, match="cannot be read"):
        together(3, fail_on_second)


def test_a_crew_whose_store_is_gone_ends():
    class Gone(HashStore):
        def add(self, key, number):
            raise RuntimeError("connection closed")

    with pytest.raises(ToldError), ThreadCrew(1, 2, Gone()) as crew:
        crew.advance(1)


@pytest.mark.parametrize("interrupted", [0, 1])
def test_an_interruption_of_one_process_ends_all_and_the_main_one_tells(interrupted):
    errors = {}

    def task(crew):
        try:
            with crew:
                if crew.rank == interrupted:
                    raise KeyboardInterrupt
                crew.wait()
        except Interrupted as error:
            errors[crew.rank] = error.is_told

    together(3, task)
    assert errors == {0: False, 1: True, 2: True}


def test_of_the_same_error_on_all_one_tells():
    told = []

    def task(crew):
        with pytest.raises((InputError, ToldError)) as raised, crew:
            raise InputError("no such folder")
        told.append(raised.type)

    together(4, task)
    assert (told.count(InputError), told.count(ToldError)) == (1, 3)
