"""Votes of pixels on the faces they see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.lifting.agreement import ViewAgreement
from mvdecor.lifting.rules import LOGIT_RULES, find_rule
from mvdecor.lifting.settings import LayerOrder, LiftingSettings
from mvdecor.shapes.shape import Shape
from mvdecor.views.views import Views

_LEAST_VIEW_WEIGHT = 1e-100
_VIEWS_AT_ONCE = 4


@dataclass(frozen=True)
class FaceVotes:
    """What the pixels said about each face. Twin faces (`Shape.twin_groups`) carry the same values.

    Attributes:
        scores: float32 [F, C], class probabilities; rows sum to 1 where `seen`, are 0 elsewhere. Where logits were
            summed, the softmax of their weighted mean, so that the order of the classes is that of the sums.
        seen: bool [F], True where at least one voting pixel saw the face or its twin.
        weight: float32 [F], sum of the weights of the face's votes (its number of pixels, if all weigh 1). In float64
            for the rule `official`, whose weights may be out of float32's range.
        probabilities: float32 [F, C], class probabilities by the mean of the images that see the face, whatever the rule
            of the vote (see `ViewAgreement`); None where the votes are not a network's.
        images: float32 [F, C], share of those images that by themselves would give each label; None likewise.
        evidence: mean over the voting pixels of the log of the sum of exp(logit): low where the network recognises
            little (the negative free energy of Liu et al., NeurIPS 2020); None likewise.
    """

    scores: Tensor
    seen: Tensor
    weight: Tensor
    probabilities: Tensor | None = None
    images: Tensor | None = None
    evidence: float | None = None

    def __post_init__(self) -> None:
        f = self.scores.shape[0]
        assert self.scores.ndim == 2, f"scores must be [F, C], got {list(self.scores.shape)}"
        assert self.seen.shape == (f,) and self.seen.dtype == torch.bool, "seen must be bool [F]"
        assert self.weight.shape == (f,), f"weight must be [F], got {list(self.weight.shape)}"


class FaceVoter:
    """Sums votes over batches of views, so that the logits of all views need never exist at once.

    A pixel adds weight x class probability to its face's group of twins (paper, section on multi-view aggregation):

    - `entropy`: the softmax, weighing (1 - H / log C) ** power, H the entropy of the pixel's own prediction in nats:
      1 where it is certain, 0 where it knows nothing. (The released code leaves out log C, so that with enough classes
      unsure pixels win.) A least weight of 1e-12 lets a face seen by unsure pixels alone still follow them.
    - `mean`: the softmax, weighing 1.
    - `majority`: one vote for the most probable class.
    - your own function by its dotted name, see `mvdecor.lifting.rules`.
    - `logits`: the logits instead of probabilities, weighing 1.
    - `official`: the logits, as the released code of Sharma et al., ECCV 2022, weighs them: every pixel of an image (a
      layer of a view) by (1 - H) ** power, H the mean entropy in nats of the image's foreground. The power being even,
      the weight falls to 0 at H = 1 and grows again beyond: with 8 classes or more an image that is unsure everywhere
      can outweigh all others. Not a rule to choose, but one to compare with.

    Layers: `all` votes together; `outer_first`: a group takes only the votes of the outermost layer in which any view
    saw it; `outer_only`: only layer 0 votes.

    Beside the votes, and without a bearing on them, the voter collects how far the images agree (`ViewAgreement`).

    On CUDA the order of float32 additions varies, and with it the last digits of the result.
    """

    def __init__(
        self,
        shape: Shape,
        num_labels: int,
        rule: str = "entropy",
        layer_order: LayerOrder = "all",
        layers: int = 1,
        power: float = 20.0,
        device: torch.device | str | None = None,
        temperature: float = 1.0,
    ) -> None:
        """
        Args:
            shape: the shape that votes are about.
            num_labels: C.
            rule: see above.
            layer_order: see above.
            layers: L, layers of the views to come.
            power: exponent of the weight of `entropy` and `official` (20 in the released code).
            device: where the sums live; the shape's device by default.
            temperature: of `FaceVotes.probabilities`; the votes do not depend on it.

        Raises:
            InputError: for an unknown rule or layer order, a negative power, or one that is not even where `official`
                needs it.
        """
        LiftingSettings.of({"rule": rule, "layer_order": layer_order, "power": power}, "lifting")
        assert num_labels >= 1 and layers >= 1, f"num_labels {num_labels} and layers {layers} must be at least 1"
        self.rule, self.layer_order, self.layers, self.power = rule, layer_order, layers, power
        self._rule = find_rule(rule)
        self.shape_id, self.num_labels = shape.id, num_labels
        device = shape.faces.device if device is None else device
        representatives, group = shape.twin_groups.unique(return_inverse=True)
        self._group = group.to(device)
        separate_layers = layers if layer_order == "outer_first" else 1
        # sums of logits do not tell the sum of their weights, which gets a column of its own
        columns = num_labels + (rule in LOGIT_RULES)
        # weights of (log C - 1) ** power and their neighbours near 0 are together too far apart for float32
        dtype = torch.float64 if rule == "official" else torch.float32
        self._sums = torch.zeros(separate_layers, len(representatives), columns, device=device, dtype=dtype)
        self._seen = torch.zeros(separate_layers, len(representatives), dtype=torch.bool, device=device)
        self._broken = torch.zeros((), dtype=torch.bool, device=device)
        self._agreement = ViewAgreement(separate_layers * len(representatives), num_labels, temperature, device)
        self._evidence = torch.zeros(2, dtype=torch.float64, device=device)  # sum, pixels

    def add(self, face_ids: Tensor, logits: Tensor) -> None:
        """Let the pixels of some views vote.

        Args:
            face_ids: int [n, L, H, W], -1 = background, which does not vote.
            logits: float or half [n, L, C, H, W], class scores before the softmax; summed in float32 (`official`: 64).
        """
        n, layers, height, width = face_ids.shape
        assert layers == self.layers, f"views of {layers} layers for a voter of {self.layers}"
        assert logits.shape == (n, layers, self.num_labels, height, width), (
            f"logits {list(logits.shape)} do not fit {n} views of {layers} layers, {self.num_labels} labels, "
            f"{height}x{width}"
        )
        for ids, batch in zip(face_ids.split(_VIEWS_AT_ONCE), logits.split(_VIEWS_AT_ONCE), strict=True):
            self._add_batch(ids.to(self._sums.device), batch.to(self._sums.device))

    def _add_batch(self, face_ids: Tensor, logits: Tensor) -> None:
        if self.layer_order == "outer_only":
            face_ids, logits = face_ids[:, :1], logits[:, :1]
        mask = face_ids >= 0
        row = self._group[face_ids[mask].long()]
        if self.layer_order == "outer_first":
            layer = torch.arange(self.layers, device=mask.device)[None, :, None, None].expand_as(mask)
            row = row + layer[mask] * self._sums.shape[1]
        logits = logits.permute(0, 1, 3, 4, 2)[mask].float()
        # kept on the device until `result`, so that no batch waits for it
        self._broken |= ~torch.isfinite(logits.amax(dim=-1)).all()
        self._sums.view(-1, self._sums.shape[-1]).index_add_(0, row, self._votes(logits, mask))
        self._seen.view(-1)[row] = True
        image = torch.arange(mask.shape[0] * mask.shape[1], device=mask.device).view(*mask.shape[:2], 1, 1)
        self._agreement.add(row, image.expand_as(mask)[mask], logits)
        self._evidence[0] += logits.logsumexp(dim=-1).sum(dtype=torch.float64)
        self._evidence[1] += len(logits)

    def _votes(self, logits: Tensor, mask: Tensor) -> Tensor:
        """[P, C] logits of the P pixels of `mask` (bool [n, L, H, W]) -> what each pixel adds to its face's sums."""
        if self.rule == "logits":
            return torch.cat([logits, torch.ones_like(logits[:, :1])], dim=-1)
        if self.rule == "official":
            weight = _image_weights(logits, mask, self.power)
            return torch.cat([weight * logits, weight], dim=-1)
        assert self._rule is not None
        votes = self._rule(logits, self.power)
        assert votes.shape == logits.shape, f"rule {self.rule} gave {list(votes.shape)} for logits {list(logits.shape)}"
        return votes

    def result(self) -> FaceVotes:
        """The votes so far, written to all faces of each group.

        Raises:
            InputError: if a logit was NaN or infinitely large.
        """
        layer = self._layer_that_counts()
        sums, seen = self._of_layer(self._sums, layer), self._seen.any(dim=0)
        if bool(self._broken):
            raise InputError(
                f"shape {self.shape_id}: the network's logits are NaN or infinite on some pixels; its training "
                "diverged: use an earlier checkpoint or train again with a lower learning rate"
            )
        if self.rule in LOGIT_RULES:
            weight = sums[:, -1]
            mean = sums[:, :-1] / torch.where(seen, weight, 1.0)[:, None]
            scores = torch.where(seen[:, None], mean.softmax(dim=-1), 0.0).float()
        else:
            weight = sums.sum(dim=-1)
            if not bool((weight[seen] > 0).all() & (sums >= 0).all()):
                raise InputError(f"lifting.rule={self.rule}: gave negative votes, or none to a face that is seen")
            scores = sums / torch.where(seen, weight, 1.0)[:, None]
        probabilities, images = (
            self._of_layer(x.view(*self._sums.shape[:2], -1), layer) for x in self._agreement.result()
        )
        total, pixels = self._evidence.tolist()
        return FaceVotes(
            scores[self._group],
            seen[self._group],
            weight[self._group],
            probabilities[self._group],
            images[self._group],
            total / pixels if pixels else None,
        )

    def _layer_that_counts(self) -> Tensor:
        """int64 [G], of each group the outermost of the layers kept apart in which it was seen; 0 where it was not."""
        return self._seen.int().argmax(dim=0)  # the first of equal values

    @staticmethod
    def _of_layer(values: Tensor, layer: Tensor) -> Tensor:
        """Values [layers, G, ...] of the layer of each group, [G, ...]."""
        return values[layer, torch.arange(len(layer), device=layer.device)]


def vote(
    shape: Shape,
    views: Views,
    logits: Tensor,
    rule: str = "entropy",
    layer_order: LayerOrder = "all",
    power: float = 20.0,
) -> FaceVotes:
    """All votes of all views at once; see `FaceVoter` for the rules and for many views.

    Args:
        shape: the shape that `views` were rasterized from.
        views: N views in L layers.
        logits: float or half [N, L, C, H, W], class scores before the softmax.
        rule: one of `VOTE_RULES`.
        layer_order: "all", "outer_first" or "outer_only".
        power: exponent of the weight of `entropy` and `official`.

    Returns:
        `FaceVotes` on the logits' device.

    Raises:
        InputError: for an unknown rule or layer order, or logits that are NaN or infinite.
    """
    assert logits.ndim == 5, f"logits must be [N, L, C, H, W], got {list(logits.shape)}"
    voter = FaceVoter(shape, logits.shape[2], rule, layer_order, views.layers, power, logits.device)
    voter.add(views.face_ids, logits)
    return voter.result()


def seen_faces(shape: Shape, views: Views) -> Tensor:
    """bool [F]: True where some pixel of some layer sees the face or its twin."""
    groups = shape.twin_groups
    seen = torch.zeros(shape.num_faces, dtype=torch.bool, device=groups.device)
    ids = views.face_ids.to(groups.device)
    seen[groups[ids[ids >= 0].long()]] = True
    return seen[groups]


def _image_weights(logits: Tensor, mask: Tensor, power: float) -> Tensor:
    """float64 [P, 1], the weight of `official` of each of the P pixels of `mask` (bool [n, L, H, W]), logits [P, C].

    At least 1e-100 (H = 1 to five digits, at power 20), so that a face seen in such an image alone still follows it.
    """
    entropy = torch.special.entr(logits.double().softmax(dim=-1)).sum(dim=-1)
    image = torch.arange(mask.shape[0] * mask.shape[1], device=mask.device).view(*mask.shape[:2], 1, 1)
    image = image.expand_as(mask)[mask]
    sums = torch.zeros(mask.shape[0] * mask.shape[1], dtype=torch.float64, device=mask.device)
    mean = sums.index_add(0, image, entropy) / mask.sum(dim=(2, 3)).flatten().clamp_min(1)
    return (1 - mean).pow(power).clamp_min(_LEAST_VIEW_WEIGHT)[image, None]
