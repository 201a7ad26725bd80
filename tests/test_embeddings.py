"""Arithmetic on embeddings against loops, numpy's SVD and cases with known answers."""

import math

import numpy as np
import torch

from mvdecor.lifting.embeddings import FaceMeans, at_pixels, nearest, principal_colours
from mvdecor.shapes import Shape


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_pixels_of_a_mask_row_by_row():
    values, mask = random(2, 3, 4, 5), random(2, 4, 5, seed=1) > 0
    expected = [values[n, :, i, j] for n in range(2) for i in range(4) for j in range(5) if mask[n, i, j]]
    torch.testing.assert_close(at_pixels(values, mask), torch.stack(expected))


def test_nearest_against_loops_whatever_the_lengths():
    queries, keys = random(23, 4) * 7, random(17, 4, seed=1) * torch.rand(17, 1)
    index, similarity = nearest(queries, keys, chunk=5)
    for q in range(23):
        cosines = [
            float(queries[q] @ keys[k]) / math.sqrt(float(queries[q] @ queries[q]) * float(keys[k] @ keys[k]))
            for k in range(17)
        ]
        assert int(index[q]) == int(np.argmax(cosines))
        assert abs(float(similarity[q]) - max(cosines)) < 1e-5
    again, _ = nearest(queries, keys, chunk=1000)
    assert torch.equal(index, again)


def test_nearest_of_nothing_is_nothing():
    index, similarity = nearest(torch.zeros(0, 4), random(3, 4))
    assert len(index) == len(similarity) == 0


def test_each_is_most_similar_to_itself():
    rows = random(50, 8)
    index, similarity = nearest(rows, 3 * rows)
    assert index.tolist() == list(range(50))
    assert bool((similarity > 0.9999).all() and (similarity <= 1).all())


def test_principal_directions_are_those_of_the_svd():
    sample = random(300, 6) * torch.tensor([5.0, 1, 3, 0.5, 2, 0.1]) + 10
    found = principal_colours(sample)
    centred = sample.double().numpy() - sample.double().numpy().mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:3].T
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), range(3)])
    np.testing.assert_allclose(found.directions.numpy(), directions, atol=1e-9)
    values = centred @ directions
    low, high = np.percentile(values, [1, 99], axis=0)
    expected = 15 + 225 * ((values - low) / (high - low)).clip(0, 1)
    colours = found(sample)
    assert colours.dtype == torch.uint8 and int(colours.max()) < 255
    assert np.abs(colours.numpy() - expected).max() <= 0.5 + 1e-6


def test_colours_depend_on_the_embedding_alone():
    sample = random(200, 5)
    colours = principal_colours(sample)
    torch.testing.assert_close(colours(sample[:12].reshape(3, 4, 5)), colours(sample)[:12].reshape(3, 4, 3))
    shuffled = principal_colours(sample[torch.randperm(200, generator=torch.Generator().manual_seed(1))])
    assert int((shuffled(sample).int() - colours(sample).int()).abs().max()) <= 1


def test_means_on_faces_against_a_loop_over_faces_and_pixels():
    """Five faces: 1 is the twin of 0, 4 is seen by nobody; the pixels come in two batches."""
    vertices = random(6, 3)
    shape = Shape("s", vertices, torch.tensor([[0, 1, 2], [2, 1, 0], [1, 2, 3], [2, 3, 4], [3, 4, 5]]))
    ids = torch.randint(-1, 4, (3, 8, 9), generator=torch.Generator().manual_seed(2), dtype=torch.int32)
    embeddings = random(3, 7, 8, 9, seed=3)
    means = FaceMeans(shape)
    means.add(ids[:2], embeddings[:2])
    means.add(ids[2:], embeddings[2:])
    found, seen = means.result()
    assert seen.tolist() == [True, True, True, True, False]
    twins = {0: (0, 1), 1: (0, 1), 2: (2,), 3: (3,)}
    for face, group in twins.items():
        rows = [
            embeddings[n, :, i, j] for n in range(3) for i in range(8) for j in range(9) if int(ids[n, i, j]) in group
        ]
        torch.testing.assert_close(found[face], torch.stack(rows).mean(dim=0), atol=1e-6, rtol=1e-5)
    assert bool((found[4] == 0).all())
