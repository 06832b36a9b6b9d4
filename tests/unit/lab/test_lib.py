"""What tests lean on has to be right itself: waiting, and knowing an image again."""

from io import BytesIO

import pytest
from lib.poll import wait_until
from lib.series import CT, MR, digest_file, make_series
from pydicom import dcmread


def test_waiting_returns_what_came_true():
    answers = iter([None, 0, "yes"])
    assert wait_until(lambda: next(answers), within=2, every=0.001) == "yes"


def test_waiting_ends_with_the_name_and_the_last_answer():
    with pytest.raises(TimeoutError, match=r"not within 0.01 s: the address moves .*lb1"):
        wait_until(
            lambda: (_ for _ in ()).throw(AssertionError(["lb1"])), within=0.01, every=0.001, what="the address moves"
        )


def test_waiting_does_not_hide_a_broken_question():
    with pytest.raises(KeyError):
        wait_until(lambda: {}["no such key"], within=5)


@pytest.mark.parametrize("source", [CT, MR])
def test_a_series_is_distinct_and_known_by_its_hash(tmp_path, source):
    made = make_series(tmp_path, 4, source=source)
    assert len({one.sha256 for one in made}) == len({one.sop_instance_uid for one in made}) == 4
    assert [digest_file(one.path) for one in made] == [one.sha256 for one in made]
    assert len({dcmread(one.path).SeriesInstanceUID for one in made}) == 1


def test_one_changed_pixel_or_element_changes_the_hash(tmp_path):
    (one,) = make_series(tmp_path, 1)
    dataset = dcmread(one.path)

    def hashed() -> str:
        buffer = BytesIO()
        dataset.save_as(buffer)
        return digest_file(buffer.getvalue())

    assert hashed() == one.sha256
    dataset.PixelData = dataset.PixelData[:-1] + bytes([dataset.PixelData[-1] ^ 1])
    assert hashed() != one.sha256
    dataset = dcmread(one.path)
    dataset.PatientName = "Another^Name"
    assert hashed() != one.sha256


def test_enlarged_images_have_the_size_that_they_claim(tmp_path):
    (one,) = make_series(tmp_path, 1, times=4)
    dataset = dcmread(one.path)
    assert (dataset.Rows, dataset.Columns) == (512, 512)
    assert len(dataset.PixelData) == 512 * 512 * 2
