"""Views on disk: the face ids of one shape's views in one file, and nothing else, since all else follows from them.

A file is a header, a table and one block per view: the view's int32 ids [L, H, W], compressed by zlib. Measured on real
views of 256 x 256 pixels this takes about 14 KB on people and 4 KB on PartNet; differences of neighbours, planes of bytes
and tables of the ids that occur each save at most a seventh on one of the two, cost as much on the other, and are slower.

    "mvdviews"; version, N, L, H, W (uint32); key (32 bytes)
    N times: length of the block (uint64), its BLAKE2b digest (16 bytes)
    SHA-256 of all the above (32 bytes)
    N blocks

All numbers are little-endian. Blocks are apart, so that a training step reads the two views that it needs.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import write_atomically
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras

MAGIC, VERSION = b"mvdviews", 1
_HEAD = struct.Struct("<8s5I32s")
_ENTRY = struct.Struct("<Q16s")
_LEVEL = 6  # of zlib; 9 takes several times as long for a tenth less


class CachedViews:
    """The file of the face ids that one shape's cameras see.

    Its name is a hash of what the ids depend on: vertices, faces, every number of the cameras (so any change of their
    settings, seed or placement makes another file), image size, layers and the setting `views.rasterizer`.

    Args:
        folder: where the files lie; made by the first `write`.
        rasterizer: "embree", "pytorch3d", or "auto" for views of either: so what a GPU rendered is read by workers on the CPU.
        shape: the shape, on any device.
        cameras: its N cameras, on any device.
        layers: L.

    Attributes:
        path: the file, whether it is there or not.
    """

    def __init__(self, folder: str | Path, rasterizer: str, shape: Shape, cameras: Cameras, layers: int = 1) -> None:
        self._size = (len(cameras), layers, cameras.height, cameras.width)
        self._key = _key(shape, cameras, layers, rasterizer)
        self._shape_id, self._num_faces = shape.id, shape.num_faces
        self.path = Path(folder) / f"{self._key.hex()}.views"

    def exists(self) -> bool:
        """Whether the file is there. `read` tells whether it is sound."""
        return self.path.exists()

    def write(self, face_ids: Tensor) -> int:
        """Write the file whole or not at all, over one that is there.

        Args:
            face_ids: int32 [N, L, H, W], see `Views`.

        Returns:
            size of the file in bytes.

        Raises:
            InputError: if the file cannot be written.
        """
        assert face_ids.shape == self._size and face_ids.dtype == torch.int32, "face_ids must be int32 [N, L, H, W]"
        blocks = [zlib.compress(view.astype("<i4").tobytes(), _LEVEL) for view in face_ids.cpu().numpy()]
        table = b"".join(_ENTRY.pack(len(block), _digest(block)) for block in blocks)
        head = _HEAD.pack(MAGIC, VERSION, *self._size, self._key) + table
        write_atomically(self.path, b"".join([head, hashlib.sha256(head).digest(), *blocks]))
        return self.path.stat().st_size

    def read(self, index: Sequence[int] | None = None) -> Tensor:
        """Face ids of the views at `index` (all if None), int32 [n, L, H, W] on the CPU.

        Raises:
            InputError: if the file is missing, damaged, cut short, or not that of this shape and these cameras. Nothing
                is allocated by a size that the file alone claims.
        """
        numbers = range(self._size[0]) if index is None else index
        face_ids = np.empty((len(numbers), *self._size[1:]), dtype=np.int32)
        try:
            with self.path.open("rb") as file:
                blocks = self._table(file)
                for view, number in zip(face_ids, numbers, strict=True):
                    view[:] = self._view(file, *blocks[number])
        except OSError as error:
            raise InputError(self._damage(f"it cannot be read: {error.strerror}")) from error
        return torch.from_numpy(face_ids)

    def _table(self, file: BinaryIO) -> list[tuple[int, int, bytes]]:
        """Start, length and digest of each block."""
        count = self._size[0]
        head = file.read(_HEAD.size + count * _ENTRY.size)
        if len(head) < _HEAD.size + count * _ENTRY.size or not head.startswith(MAGIC):
            raise InputError(self._damage("it is no whole view cache file"))
        _, version, *size, key = _HEAD.unpack_from(head)
        if version != VERSION:
            raise InputError(self._damage(f"its format has version {version}, this program reads {VERSION}"))
        if file.read(32) != hashlib.sha256(head).digest():
            raise InputError(self._damage("its header does not have the checksum it was written with"))
        if key != self._key or tuple(size) != self._size:
            raise InputError(self._damage("it holds the views of another mesh or other cameras"))
        blocks, start = [], file.tell()
        for length, digest in _ENTRY.iter_unpack(head[_HEAD.size :]):
            blocks.append((start, length, digest))
            start += length
        if os.fstat(file.fileno()).st_size != start:
            raise InputError(self._damage("it is shorter or longer than it was written"))
        return blocks

    def _view(self, file: BinaryIO, start: int, length: int, digest: bytes) -> np.ndarray:
        """int32 [L, H, W] of one block."""
        file.seek(start)
        block = file.read(length)
        if _digest(block) != digest:
            raise InputError(self._damage("a view does not have the checksum it was written with"))
        pixels = self._size[1] * self._size[2] * self._size[3]
        try:
            decompressed = zlib.decompressobj().decompress(block, 4 * pixels + 1)
        except zlib.error as error:
            raise InputError(self._damage(str(error))) from error
        if len(decompressed) != 4 * pixels:
            raise InputError(self._damage("a view has another size than it should"))
        view = np.frombuffer(decompressed, dtype="<i4").reshape(self._size[1:])
        if view.min() < -1 or view.max() >= self._num_faces:
            raise InputError(self._damage(f"it names faces that the mesh of {self._num_faces} does not have"))
        return view

    def _damage(self, fault: str) -> str:
        return (
            f"{self.path}, views of shape {self._shape_id}: {fault}: remove the file (it is then rendered again), or set "
            "views.cache=null"
        )


def _key(shape: Shape, cameras: Cameras, layers: int, rasterizer: str) -> bytes:
    """32 bytes that change with anything that the face ids depend on."""
    digest = hashlib.sha256(f"{VERSION} {rasterizer} {layers} {cameras.height} {cameras.width}".encode())
    if cameras.orthographic:
        digest.update(b" orthographic")
    for tensor in (shape.vertices, shape.faces, cameras.rotation, cameras.translation, cameras.intrinsics):
        array = np.ascontiguousarray(tensor.cpu().numpy())
        digest.update(f" {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _digest(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=16).digest()
