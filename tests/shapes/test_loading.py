import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes.loading import load_shapes
from mvdecor.shapes.shape import Shape


class Fake:
    label_names = ()

    def ids(self, split):
        return ["a", "bad", "b"]

    def load(self, id):
        if id == "bad":
            raise InputError("bad.obj: is missing; download it")
        if id == "bug":
            raise ZeroDivisionError
        return Shape(id, torch.eye(3), torch.tensor([[0, 1, 2]]))


def test_order_is_kept_and_skipped_shapes_are_told(capsys):
    shapes, skipped = load_shapes(Fake(), ["b", "bad", "a"], on_error="skip")
    assert [shape.id for shape in shapes] == ["b", "a"]
    assert skipped == [("bad", "bad.obj: is missing; download it")]
    assert capsys.readouterr().out == "warning: skipped shape bad: bad.obj: is missing; download it\n"


def test_raise_is_the_default():
    with pytest.raises(InputError, match=r"bad\.obj"):
        load_shapes(Fake(), ["a", "bad"])


@pytest.mark.parametrize(
    ("ids", "policy", "message"),
    [
        (["bad"], "skip", "all 1 were skipped.*bad.obj"),
        ([], "raise", "list of ids is empty"),
        (["a"], "ignore", "raise or skip"),
    ],
)
def test_nothing_to_work_with_is_an_error(ids, policy, message):
    with pytest.raises(InputError, match=message):
        load_shapes(Fake(), ids, on_error=policy)


def test_a_bug_is_never_skipped():
    with pytest.raises(ZeroDivisionError):
        load_shapes(Fake(), ["bug", "a"], on_error="skip")
