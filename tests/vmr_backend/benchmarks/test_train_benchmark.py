"""`benchmark train`: a row for each size, batch and kind of step."""

from vmr_backend.cli import main


def test_it_prints_what_a_picture_costs_in_each_kind_of_step(capsys):
    assert main(["benchmark", "train", "--sizes", "32", "48", "--batches", "2", "--repeats", "1", "--device",
                 "cpu"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 2 * 5
    for row in rows:
        size, batch = (int(word) for word in row.split()[1:3])
        step, picture = (float(row[start:end]) for start, end in ((38, 47), (47, 59)))
        assert size in (32, 48) and batch == 2 and step > 0
        assert abs(picture - step / batch) < 0.06


def test_what_it_does_not_know_is_refused_in_one_line(capsys):
    assert main(["benchmark", "train", "--encoders", "resnet50"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
