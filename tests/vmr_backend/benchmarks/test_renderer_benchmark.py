"""The renderer's benchmark runs, for every method, and says what it leaves out."""

import pytest

from vmr_backend.benchmarks import renderer

TINY = ["--renderer", "warp", "reference", "--device", "cpu", "--levels", "0", "--sizes", "8", "--repeats", "1"]


@pytest.mark.parametrize("method", renderer.METHODS)
def test_prints_a_row_for_each_case(capsys, method):
    assert renderer.main([*TINY, "--batches", "1", "2", "--method", method]) == 0
    rows = capsys.readouterr().out.splitlines()[-4:]
    assert [row.split()[0] for row in rows] == ["warp", "warp", "reference", "reference"]
    assert all(float(row.split()[-1]) > 0.0 for row in rows)


def test_leaves_out_cases_larger_than_one_that_took_too_long(capsys):
    assert renderer.main([*TINY, "--batches", "1", "2", "--limit", "0"]) == 0
    assert capsys.readouterr().out.count("left out") == 2
