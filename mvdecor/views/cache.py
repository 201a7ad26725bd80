"""Views on disk: the face ids of one shape's views in one file, and nothing else, since all else follows from them.

A file is a header, a table and one block per view, compressed by zlib: which of the view's pixels [L, H, W] show a face (a bit
each, the first the highest of its byte), then the int32 ids of these. Without the background, most of a view, it is a tenth
smaller and unpacked in a quarter of the time. Real views of 256 x 256 pixels take about 15 KB on people and 3 to 15 KB on
PartNet; differences of neighbours and planes of bytes save at most a tenth on one of the two, and cost more on the
other.

    "mvdviews"; version, N, L, H, W (uint32); key (32 bytes)
    N times: length of the block (uint64), its BLAKE2b digest (16 bytes)
    SHA-256 of all the above (32 bytes)
    N blocks

All numbers are little-endian. Blocks are apart, so that a training step reads the two views that it needs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import is_writable, nearest_folder, write_atomically
from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras

MAGIC, VERSION = b"mvdviews", 2
_HEAD = struct.Struct("<8s5I32s")
_ENTRY = struct.Struct("<Q16s")
_LEVEL = 4  # of zlib; 6 takes three times as long for a fortieth less
RESERVE = 2**30
"""Bytes that are left free on a disk that is filled unasked (`CachedViews.optional`)."""


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
        optional: for `ShapeViews`, which then goes on without a file that cannot be written, and makes a damaged one again.

    Attributes:
        path: the file, whether it is there or not.
    """

    def __init__(
        self,
        folder: str | Path,
        rasterizer: str,
        shape: Shape,
        cameras: Cameras,
        layers: int = 1,
        optional: bool = False,
    ) -> None:
        self.optional = optional
        self._size = (len(cameras), layers, cameras.height, cameras.width)
        self._key = _key(shape, cameras, layers, rasterizer)
        self._shape_id, self._num_faces = shape.id, shape.num_faces
        self.path = Path(folder) / f"{self._key.hex()}.views"

    def exists(self) -> bool:
        """Whether the file is there. `read` tells whether it is sound."""
        return self.path.exists()

    def check_room(self) -> None:
        """Raise InputError if an optional file would take of the last `RESERVE` bytes of the disk, or cannot be written."""
        if not self.optional:
            return
        folder = nearest_folder(self.path.parent)
        if not is_writable(folder):
            raise InputError(f"{folder} cannot be written to")
        if shutil.disk_usage(folder).free < RESERVE:
            raise InputError(f"{folder}: less than {RESERVE / 2**30:.0f} GB are free on its disk")

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
        blocks = [_packed(view) for view in face_ids.cpu().numpy()]
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
                    self._unpack(view.reshape(-1), file, *blocks[number])
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

    def _unpack(self, pixels: np.ndarray, file: BinaryIO, start: int, length: int, digest: bytes) -> None:
        """Write the ids of a block to the pixels of its view, int32 [L * H * W]."""
        file.seek(start)
        block = file.read(length)
        if _digest(block) != digest:
            raise InputError(self._damage("a view does not have the checksum it was written with"))
        mask_bytes = -(-len(pixels) // 8)
        try:
            content = zlib.decompressobj().decompress(block, mask_bytes + 4 * len(pixels) + 1)
        except zlib.error as error:
            raise InputError(self._damage(str(error))) from error
        mask = np.unpackbits(np.frombuffer(content[:mask_bytes], np.uint8)).view(bool)
        if len(content) < mask_bytes or len(content) != mask_bytes + 4 * np.count_nonzero(mask[: len(pixels)]):
            raise InputError(self._damage("a view has another size than it should"))
        ids = np.frombuffer(content, "<i4", offset=mask_bytes)
        if len(ids) and (ids.min() < 0 or ids.max() >= self._num_faces):
            raise InputError(self._damage(f"it names faces that the mesh of {self._num_faces} does not have"))
        pixels.fill(-1)
        pixels[mask[: len(pixels)]] = ids

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


def _packed(view: np.ndarray) -> bytes:
    """The block of a view's ids int32 [L, H, W]."""
    seen = view.reshape(-1) >= 0
    return zlib.compress(np.packbits(seen).tobytes() + view.reshape(-1)[seen].astype("<i4").tobytes(), _LEVEL)


def _digest(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=16).digest()
