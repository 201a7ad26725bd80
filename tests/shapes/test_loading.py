import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.shapes import PartNet
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


@pytest.mark.parametrize("workers", [0, 2])
def test_order_is_kept_and_skipped_shapes_are_told(capsys, workers):
    shapes, skipped = load_shapes(Fake(), ["b", "bad", "a"], on_error="skip", workers=workers)
    assert [shape.id for shape in shapes] == ["b", "a"]
    assert skipped == [("bad", "bad.obj: is missing; download it")]
    assert capsys.readouterr().out == "warning: skipped shape bad: bad.obj: is missing; download it\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_raise_is_the_default(workers):
    with pytest.raises(InputError, match=r"bad\.obj"):
        load_shapes(Fake(), ["a", "bad", "b"], workers=workers)


def test_workers_read_the_same_shapes(partnet_root):
    chairs = PartNet(partnet_root, "all", splits="splits_local.json")
    ids = chairs.ids("all")[:6]
    (here, _), (there, _) = (load_shapes(chairs, ids, "skip", workers) for workers in (0, 2))
    assert [s.id for s in here] == [s.id for s in there]
    assert all(torch.equal(a.vertices, b.vertices) and torch.equal(a.faces, b.faces) for a, b in zip(here, there))


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_is_never_skipped(workers):
    with pytest.raises(ZeroDivisionError):
        load_shapes(Fake(), ["bug", "a"], on_error="skip", workers=workers)
