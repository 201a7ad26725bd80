"""`Shape`: a triangle mesh whose labels belong to faces by index."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mvdecor.errors import InputError

if TYPE_CHECKING:
    import trimesh
    from pytorch3d.structures import Meshes

UNDETERMINED = -1
"""Label of a face that has no known part. It is never trained on, never votes and is never counted."""
WELD = 5e-6
"""Corners nearer than this are one position. In radii of the shape, where float32 has a step of 6e-8 and views tell surfaces
apart from 1e-4 (`mvdecor.views.rasterizers.GAP`)."""
LOST = 1e-6
"""How far float32 may move a vertex, in radii of the shape; vertices that it would move farther stay float64."""

REPEAT, MIRROR, CLAMP = 0, 1, 2
"""How an image goes on outside of [0, 1], see `Texture.samplers`."""


@dataclass(frozen=True)
class Texture:
    """Colour of a surface: one or more images and where each face lies in them.

    Attributes:
        uv: float32 [F, 3, 2], texture coordinates (u, v) of each corner of each face; (0, 0) is the *bottom left* of
            the image (OBJ convention), values outside [0, 1] repeat the image unless `samplers` says otherwise.
        images: RGB images, each uint8 [H, W, 3], row 0 at the top; on the CPU, wherever the other tensors are (see `packed`).
        image_ids: int64 [F], the image of each face. A face of plain colour has a 1x1 image.
        samplers: int64 [I, 3], of each image: how it continues along u and along v (`REPEAT`, `MIRROR` or `CLAMP`), and
            1 where the nearest texel counts instead of a bilinear blend. None: all repeat, bilinear.
    """

    uv: Tensor
    images: tuple[Tensor, ...]
    image_ids: Tensor
    samplers: Tensor | None = None

    @property
    def num_pixels(self) -> int:
        """Of all images together."""
        return sum(image.shape[0] * image.shape[1] for image in self.images)

    @cached_property
    def packed(self) -> tuple[Tensor, Tensor, Tensor]:
        """All the images as one list of pixels, so that colours of faces of different images are one gather.

        On the device of `uv`: images may take hundreds of megabytes, and go there when they are first looked at.

        Returns:
            uint8 [P, 3], the pixels of all images row by row; int64 [I], where each image starts; int64 [I, 2], height
            and width of each image.
        """
        sizes = torch.tensor([image.shape[:2] for image in self.images], device=self.uv.device)
        ends = sizes.prod(dim=1).cumsum(0)
        pixels = [image.reshape(-1, 3) for image in self.images]
        packed = pixels[0] if len(pixels) == 1 else torch.cat(pixels)
        return packed.to(self.uv.device), ends - sizes.prod(dim=1), sizes

    def to(self, device: torch.device | str) -> Texture:
        """The same texture with its tensors but the images on `device`."""
        return Texture(
            self.uv.to(device),
            self.images,
            self.image_ids.to(device),
            None if self.samplers is None else self.samplers.to(device),
        )


@dataclass(frozen=True)
class Shape:
    """A mesh with optional part labels and texture.

    Faces are never reordered, merged or dropped after loading: a label belongs to a face by its index.

    Attributes:
        id: name of the shape, unique within its data set.
        vertices: float32 [V, 3], world frame, y up. float64 if float32 would blur the shape, as in geographic coordinates
            (see `positions`), until `normalized`.
        faces: int64 [F, 3], indices into `vertices`.
        face_labels: int64 [F] with values in [-1, len(label_names)), -1 = undetermined; None for an unlabelled shape.
        label_names: name of each label.
        texture: colours of the surface, or None.
        category: e.g. "Bottle".
        polygons: int64 [F], ascending: the face of the file that each triangle was cut from, where some had more than three
            corners; None where every face is one of the file's.

    Raises:
        InputError: at construction, if the arrays do not fit together (empty mesh, indices or labels out of range,
            vertices or texture coordinates that are not finite, a label count that is not the face count).
    """

    id: str
    vertices: Tensor
    faces: Tensor
    face_labels: Tensor | None = None
    label_names: tuple[str, ...] = ()
    texture: Texture | None = None
    category: str = ""
    polygons: Tensor | None = None

    def __post_init__(self) -> None:
        _check_mesh(self)
        if self.face_labels is not None:
            _check_labels(self)
        if self.texture is not None:
            _check_texture(self)

    @property
    def num_faces(self) -> int:
        return int(self.faces.shape[0])

    @cached_property
    def corners(self) -> Tensor:
        """int64 [F, 3], from 0 up: the position of each corner by number, the same for corners that coincide.

        CAD files repeat vertices, and rounding moves the copies apart. Corners that are nearer than `WELD` radii along each
        axis have the same number; corners farther than twice that have different ones, unless others lie between them. The
        numbers do not depend on the order of vertices or faces.
        """
        used_vertices, inverse = self.faces.cpu().unique(return_inverse=True)
        cells, cell = np.unique(_cells(self.vertices.cpu()[used_vertices].double().numpy()), return_inverse=True)
        return torch.from_numpy(_joined(cells)[cell])[inverse].to(self.faces.device)

    @cached_property
    def twin_groups(self) -> Tensor:
        """int64 [F]: for each face the lowest index of the faces that have the same three corners (in any order).

        PartNet's meshes carry nearly every face twice, once turned around. Which twin a rasterizer reports is
        arbitrary, so rasterizers show only the lowest one, and votes go to the group (`lifting`). Corners are compared
        by position (`corners`), not by vertex index.
        """
        a, b, c = np.sort(self.corners.cpu().numpy(), axis=1).T
        count = int(c.max()) + 1
        _, pair = np.unique(a * count + b, return_inverse=True)
        _, first, group = np.unique(pair.reshape(-1) * count + c, return_index=True, return_inverse=True)
        return torch.from_numpy(first[group.reshape(-1)].astype(np.int64)).to(self.faces.device)

    @cached_property
    def face_areas(self) -> Tensor:
        """float64 [F], in squared units of the vertices; 0 for a degenerate face."""
        return 0.5 * self._face_cross.norm(dim=-1)

    @cached_property
    def face_normals(self) -> Tensor:
        """float32 [F, 3], unit normals by the winding of the file (which CAD files often get wrong); 0 if degenerate."""
        cross = self._face_cross
        size = cross.norm(dim=-1, keepdim=True)
        return torch.where(size > 1e-20 * size.amax(), cross / size, 0.0).float()

    @cached_property
    def face_origins(self) -> Tensor:
        """[F, 3] of the vertices' type, first corner of each face: with the normal it gives the face's plane."""
        return self.vertices[self.faces[:, 0]]

    @cached_property
    def face_gradients(self) -> Tensor:
        """float32 [F, 2, 3]: by how much the barycentric weights of the second and third corner grow; 0 if degenerate."""
        a, b, c = self.vertices[self.faces].double().unbind(dim=1)
        ab, ac = b - a, c - a
        d00, d01, d11 = ((x * y).sum(-1, keepdim=True) for x, y in ((ab, ab), (ab, ac), (ac, ac)))
        determinant = d00 * d11 - d01 * d01
        scale = torch.where(determinant > 1e-30, 1 / determinant, 0.0)
        return torch.stack([(d11 * ab - d01 * ac) * scale, (d00 * ac - d01 * ab) * scale], dim=1).float()

    @cached_property
    def face_centers(self) -> Tensor:
        """[F, 3] of the vertices' type, mean of the three corners."""
        return self.vertices[self.faces].mean(dim=1)

    @property
    def _face_cross(self) -> Tensor:
        a, b, c = self.vertices[self.faces].unbind(dim=1)
        # float64: the cross product of a sliver's edges cancels in float32
        return torch.linalg.cross((b - a).double(), (c - a).double())

    def to(self, device: torch.device | str) -> Shape:
        """The same shape with its tensors on `device`; itself if they are there."""
        if self.vertices.device == torch.device(device):
            return self
        return replace(
            self,
            vertices=self.vertices.to(device),
            faces=self.faces.to(device),
            face_labels=None if self.face_labels is None else self.face_labels.to(device),
            texture=None if self.texture is None else self.texture.to(device),
            polygons=None if self.polygons is None else self.polygons.to(device),
        )

    def with_vertices(self, vertices: Tensor) -> Shape:
        """The same mesh with its vertices elsewhere, without texture; corners that did not coincide still do not."""
        shape = replace(self, vertices=vertices, texture=None)
        vars(shape)["twin_groups"] = self.twin_groups  # which takes a third of the time of rasterizing a small mesh
        return shape

    def normalized(self) -> Shape:
        """Centred on its bounding box and scaled so that the farthest used vertex lies on the unit sphere.

        Deterministic (the released code normalises by random surface samples). Vertices that no face uses are moved
        along but do not count.
        """
        # in units of a power of two, which is exact, so that no square is too large or too small for float64
        unit = 2.0 ** math.frexp(float(self.vertices[self.faces.reshape(-1)].abs().max()))[1]
        vertices = self.vertices.double() / unit
        used_vertices = vertices[self.faces.reshape(-1)]
        center = (used_vertices.amin(dim=0) + used_vertices.amax(dim=0)) / 2
        radius = (used_vertices - center).norm(dim=-1).amax()
        if not radius > 0:
            raise InputError(
                f"shape {self.id}: all its corners are one point; it cannot be scaled to the unit sphere: leave it out"
            )
        return replace(self, vertices=((vertices - center) / radius).float())

    def fingerprint(self) -> str:
        """SHA-256 of vertices, faces and texture: the same for the same mesh, whatever file it came from."""
        tensors = [self.vertices, self.faces]
        if self.texture is not None:
            tensors += [self.texture.uv, self.texture.image_ids, *self.texture.images]
            tensors += [] if self.texture.samplers is None else [self.texture.samplers]
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def from_trimesh(cls, mesh: trimesh.Trimesh, id: str = "mesh", **fields) -> Shape:
        """From a `trimesh.Trimesh` (loaded with `process=False, maintain_order=True`); other fields by keyword."""
        return cls(
            id=id,
            vertices=positions(np.asarray(mesh.vertices)),
            faces=torch.tensor(np.asarray(mesh.faces), dtype=torch.int64),
            **fields,
        )

    def to_pytorch3d(self) -> Meshes:
        """As PyTorch3D `Meshes` with one mesh (no texture)."""
        from pytorch3d.structures import Meshes

        return Meshes(verts=[self.vertices], faces=[self.faces])


def positions(vertices: NDArray[np.float64]) -> Tensor:
    """Vertices [V, 3] for a `Shape`: float32, or float64 if float32 would move one by more than `LOST` of the radius.

    That is so for a shape that lies more than some ten radii from the origin, and for one of less than 1e-38 or more than
    3e38 units.
    """
    wide = torch.from_numpy(np.array(vertices, dtype=np.float64))
    narrow = wide.float()
    if len(wide) == 0 or not bool(wide.isfinite().all()):
        return narrow  # which is refused, with a message of its own
    radius = float((wide.amax(dim=0) / 2 - wide.amin(dim=0) / 2).max())
    return narrow if float((narrow.double() - wide).abs().max()) <= LOST * radius else wide


def _cells(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64 [N]: the cell of a grid of `WELD` radii in which each point lies, in their bounding box, as one number."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = WELD * float((high / 2 - low / 2).max())
    if not size > 0:
        return np.zeros(len(points), dtype=np.int64)
    x, y, z = (1 + np.floor((points - low) / size).astype(np.int64)).T  # up to 400 001: 20 bits each
    return (x << 40) + (y << 20) + z


def _joined(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [N]: numbers from 0 up, the same for cells (ascending, distinct) that touch each other; see `_cells`."""
    links = [np.empty((2, 0), dtype=np.int64)]
    for step in product((-1, 0, 1), repeat=3):
        if step > (0, 0, 0):  # the other 13 directions are these, seen from the other cell
            neighbours = cells + (step[0] << 40) + (step[1] << 20) + step[2]
            place = np.searchsorted(cells, neighbours).clip(max=len(cells) - 1)
            touching = np.flatnonzero(cells[place] == neighbours)
            links.append(np.stack([touching, place[touching]]))
    rows, columns = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(cells), len(cells)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _check_mesh(shape: Shape) -> None:
    v, f = shape.vertices, shape.faces
    if v.ndim != 2 or v.shape[1] != 3 or v.dtype not in (torch.float32, torch.float64):
        raise InputError(f"shape {shape.id}: vertices must be float32 or float64 [V, 3], got {v.dtype} {list(v.shape)}")
    if f.ndim != 2 or f.shape[1] != 3 or f.dtype != torch.int64:
        raise InputError(f"shape {shape.id}: faces must be int64 [F, 3], got {f.dtype} {list(f.shape)}")
    if len(f) == 0:
        raise InputError(f"shape {shape.id}: the mesh has no faces (a point cloud?); mvdecor needs a triangle mesh")
    if int(f.min()) < 0 or int(f.max()) >= len(v):
        raise InputError(f"shape {shape.id}: a face refers to vertex {int(f.max())} of {len(v)} vertices")
    if not bool(torch.isfinite(v).all()):
        raise InputError(f"shape {shape.id}: {int((~torch.isfinite(v)).any(1).sum())} vertices are NaN or infinite")
    assert shape.polygons is None or shape.polygons.shape == (len(f),), "polygons must be int64 [F]"


def _check_labels(shape: Shape) -> None:
    labels = shape.face_labels
    assert labels is not None
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise InputError(f"shape {shape.id}: face labels must be int64 [F], got {labels.dtype} {list(labels.shape)}")
    if len(labels) != len(shape.faces):
        raise InputError(
            f"shape {shape.id}: {len(labels)} face labels for {len(shape.faces)} faces; one per face is needed"
        )
    if int(labels.min()) < UNDETERMINED or int(labels.max()) >= len(shape.label_names):
        raise InputError(
            f"shape {shape.id}: face labels span {int(labels.min())}..{int(labels.max())}, "
            f"but there are {len(shape.label_names)} label names (allowed: -1 for undetermined, then 0 up)"
        )


def _check_texture(shape: Shape) -> None:
    texture = shape.texture
    assert texture is not None
    n = len(shape.faces)
    if texture.uv.shape != (n, 3, 2) or texture.image_ids.shape != (n,):
        raise InputError(
            f"shape {shape.id}: texture of {list(texture.uv.shape)} uv and {list(texture.image_ids.shape)} image ids "
            f"does not fit {n} faces"
        )
    if not texture.images or int(texture.image_ids.min()) < 0 or int(texture.image_ids.max()) >= len(texture.images):
        raise InputError(f"shape {shape.id}: a face refers to a texture image that is not there")
    if not bool(torch.isfinite(texture.uv).all()):
        invalid = int((~torch.isfinite(texture.uv)).any(2).any(1).sum())
        raise InputError(f"shape {shape.id}: the texture coordinates of {invalid} faces are NaN or infinite")
