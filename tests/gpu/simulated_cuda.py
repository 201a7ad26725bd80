"""A simulated CUDA device: tensors that say `cuda:0`, hold their values in CPU tensors, and refuse what a GPU refuses.

`FakeTensorMode` is no substitute: its tensors have no values, and rasterizing, matching and losses depend on values. Here
everything runs, and what comes out can be compared with the CPU's. Mixed devices and `.numpy()` raise, and so do streams that
use one memory without waiting for each other (`simulated_streams`). Kernel launches, waits of the host for the device, and
calls of PyTorch3D's rasterizer are counted, so that tests can bound them.

Not simulated: CUDA's kernels (the CPU's run instead, PyTorch3D's without bins), memory, DDP and NCCL.

To C++ a simulated tensor is a "meta" tensor with the dispatch keys of CUDA, so that neither device guards nor the threads of
autograd look for a GPU. Autocast is done in Python for the same reason (`HALF_FUNCTIONS`, `FLOAT_FUNCTIONS`).
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from tests.gpu.simulated_streams import Memory, Streams

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
FLOATS = (torch.float32, torch.float16, torch.bfloat16)

INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Take indices from the CPU, which are copied; masks among the indices wait for their number of True."""
WAITING = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default),
    *(aten.bincount.default, aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default),
}
"""Their result, or its size, is needed on the host."""
TAKES_SCALAR = {aten.where.self, aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor}
"""Besides pointwise operations these take a tensor of the CPU without dimensions."""
NO_KERNEL = {
    *(aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default),
    *(aten.new_empty_strided.default, aten.set_.source_Tensor, aten.lift_fresh.default, aten._unsafe_view.default),
}
"""Launch nothing on a GPU; nor do views."""
HALF_FUNCTIONS = {
    *(torch.conv1d, torch.conv2d, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum),
    *(Tensor.matmul, Tensor.__matmul__, F.conv2d, F.linear, torch._C._nn.linear, F.scaled_dot_product_attention),
}
FLOAT_FUNCTIONS = {
    *(torch.softmax, Tensor.softmax, torch.norm, torch.cdist),
    *(F.softmax, F.log_softmax, F.layer_norm, F.cross_entropy),
}


class MixedDevices(RuntimeError):
    """An operation was called with tensors of the CPU and of the device."""


@dataclass
class Counts:
    """What happened on the device.

    Attributes:
        launches: operations that launch a kernel or a copy.
        waits: times that the host waits for the device, by cause.
        placed: operations that were told to put their result on "cuda".
        rasterized: one entry per call of PyTorch3D's rasterizer: numbers of views and faces, size of the bins, faces per bin.
    """

    launches: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    placed: int = 0
    rasterized: list[dict[str, Any]] = field(default_factory=list)

    def reset(self) -> None:
        """Count from zero."""
        self.launches, self.waits, self.placed, self.rasterized = 0, Counter(), 0, []


counts = Counts()
streams = Streams()


class SimulatedTensor(Tensor):
    """A tensor on the simulated device.

    Attributes:
        values: the CPU tensor that holds its values.
        memory: what it shares with its views.
    """

    values: Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, values: Tensor) -> SimulatedTensor:
        with _disable_current_modes():
            shell = torch.empty_strided(values.size(), values.stride(), dtype=values.dtype, device="meta")
            tensor = torch.Tensor._make_subclass(
                cls, shell, False, dispatch_device=False, device_for_backend_keys=DEVICE
            )
        tensor.values, tensor.memory = values, Memory(streams.current)
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = is_meta = property(lambda self: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        """The number of the device."""
        return 0

    def __repr__(self) -> str:  # type: ignore[override]
        return f"simulated {self.values}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _execute(func, args, kwargs or {})


def to_cpu(x: Any) -> Any:
    """The values of a simulated tensor; anything else as it is. Counts nothing."""
    return x.values if isinstance(x, SimulatedTensor) else x


def all_to_cpu(tree: Any) -> Any:
    """The same for all tensors in lists, tuples and dictionaries."""
    return tree_map(to_cpu, tree)


def _to_simulated(x: Any) -> Any:
    return SimulatedTensor(x) if isinstance(x, Tensor) and not isinstance(x, SimulatedTensor) else x


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _execute(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run an operation of ATen on the values, after the checks that a GPU makes, and in its stream."""
    waits = sum(counts.waits.values())
    out = _computed(func, args, kwargs)
    read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, SimulatedTensor)]
    results = [x for x in tree_leaves(out) if isinstance(x, SimulatedTensor)]
    if read or results:
        _order(func, args, read, results)
    if sum(counts.waits.values()) > waits:
        streams.host_waits()
    return out


def _order(func: Any, args: tuple, read: list[SimulatedTensor], results: list[SimulatedTensor]) -> None:
    """Give the results the memory that they share, and the operation its place in the stream."""
    of_storage = {x.values.untyped_storage().data_ptr(): x.memory for x in read if x.values.numel()}  # none is at 0
    for x in results:
        x.memory = of_storage.get(x.values.untyped_storage().data_ptr(), x.memory)
    taken = {x.memory for x in results}.difference(of_storage.values())
    if func.is_view or func in NO_KERNEL:
        return streams.current.run([], [], bool(taken))
    places = enumerate(func._schema.arguments)
    changed = [args[i] for i, a in places if a.alias_info and a.alias_info.is_write and i < len(args)]
    written = [x.memory for x in tree_leaves(changed) if isinstance(x, SimulatedTensor)]
    streams.current.run([x.memory for x in read], [*written, *taken], bool(taken))


def _computed(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    simulated = [x for x in leaves if isinstance(x, SimulatedTensor)]
    device = kwargs.get("device")
    on_device = _is_cuda(device) if device is not None else bool(simulated)
    counts.placed += device is not None and torch.device(device).type == "cuda"
    if func is aten._to_copy.default:
        return _copy(args[0], on_device, kwargs)
    if not simulated and not on_device:
        return func(*args, **kwargs)
    _check_generator(func, kwargs)
    if simulated and len(simulated) < len(leaves):
        _check_devices(func, args, [x for x in leaves if not isinstance(x, SimulatedTensor)])
    _count(func, args, kwargs)
    plain = {k: torch.device("cpu") if k == "device" else v for k, v in kwargs.items() if k != "pin_memory"}
    out = func(*tree_map(to_cpu, args), **tree_map(to_cpu, plain))
    if func is aten._local_scalar_dense.default:
        return out
    if func._schema.is_mutable:
        return _written(func, args)
    return tree_map(_to_simulated, out)


def _copy(x: Tensor, on_device: bool, kwargs: dict[str, Any]) -> Tensor:
    """`x.to(...)` where that copies. To the device without `non_blocking` it waits, from the device always."""
    source = to_cpu(x)
    copied = aten._to_copy.default(
        source, **{k: v for k, v in kwargs.items() if k in ("dtype", "memory_format", "layout")}
    )
    copied = copied.clone() if copied is source else copied
    came_from_device = isinstance(x, SimulatedTensor)
    if came_from_device or on_device:
        counts.launches += 1
    if came_from_device and not on_device:
        counts.waits["from the device"] += 1
    elif on_device and not came_from_device and not kwargs.get("non_blocking"):
        counts.waits["to the device"] += 1
    return _to_simulated(copied) if on_device else copied


def _written(func: Any, args: tuple) -> Any:
    """What an operation in place returns: the arguments themselves."""
    schema = func._schema.arguments
    written = [args[i] for i, a in enumerate(schema) if a.alias_info and a.alias_info.is_write and i < len(args)]
    return {0: None, 1: written[0]}.get(len(func._schema.returns), tuple(written))


def _check_generator(func: Any, kwargs: dict[str, Any]) -> None:
    generator = kwargs.get("generator")
    if isinstance(generator, torch.Generator) and generator.device.type == "cpu":
        raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")


def _check_devices(func: Any, args: tuple, of_cpu: list[Tensor]) -> None:
    """Raise MixedDevices unless the operation takes these tensors of the CPU beside those of the device."""
    if func is aten.copy_.default:
        counts.waits["copy_"] += 1
        return
    if func in INDEXING and isinstance(args[0], SimulatedTensor):
        remaining = [x for x in of_cpu if not any(x is index for index in args[1])]
        counts.waits["index from the CPU"] += len(of_cpu) - len(remaining)
        of_cpu = remaining
    scalars_allowed = torch.Tag.pointwise in func.tags or func in TAKES_SCALAR or func in INDEXING
    if any(x.ndim > 0 or not scalars_allowed for x in of_cpu):
        raise MixedDevices(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu"
        )


def _count(func: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    if not (func.is_view or func in NO_KERNEL):
        counts.launches += 1
    if func in WAITING:
        counts.waits[str(func)] += 1
    elif func in INDEXING:
        if any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]):
            counts.waits[f"{func} by a mask"] += 1
    elif func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
        counts.waits[str(func)] += 1


class _Dispatch(TorchDispatchMode):
    """Sends tensors that are made on "cuda" to the simulation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _execute(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What C++ does before anything is dispatched: devices by name, conversions, indices from lists, autocast."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {k: _with_number(v) for k, v in (kwargs or {}).items()}
        args = args if func is torch.device else tuple(map(_with_number, args))
        if func in (torch.tensor, torch.as_tensor) and _is_cuda(kwargs.get("device")):
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if args and isinstance(args[0], SimulatedTensor):
            if func is Tensor.tolist:
                return args[0].cpu().tolist()
            if func in (Tensor.numpy, Tensor.__array__):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host memory first."
                )
            if func in (Tensor.__getitem__, Tensor.__setitem__):
                return func(args[0], _index(args[1]), *args[2:])
        dtype = _autocast[-1] if _autocast else None
        if dtype is not None and (func in HALF_FUNCTIONS or func in FLOAT_FUNCTIONS):
            target = dtype if func in HALF_FUNCTIONS else torch.float32
            args, kwargs = tree_map(lambda x: _cast(x, target), (args, kwargs))
        return func(*args, **kwargs)


_autocast: list[torch.dtype | None] = []
"""The half precision of each autocast that was entered, None where it does nothing on the device."""


def _cast(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, SimulatedTensor) and x.dtype in FLOATS and x.dtype != dtype else x


def _with_number(x: Any) -> Any:
    """ "cuda" as `cuda:0`."""
    is_cuda = (isinstance(x, torch.device) and x.type == "cuda") or (isinstance(x, str) and x == "cuda")
    return DEVICE if is_cuda else x


def _index(index: Any) -> Any:
    """Lists of numbers in an index become tensors on the device, by a copy that waits."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, list) and index and all(type(i) is int for i in index):
        counts.waits["index list"] += 1
        with _disable_current_modes():
            return SimulatedTensor(torch.tensor(index))
    return index


class _PyTorch3D:
    """The compiled part of PyTorch3D, whose rasterizer takes tensors of the device."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return self.rasterize_meshes if name == "rasterize_meshes" else getattr(self._library, name)

    def rasterize_meshes(self, *args: Any) -> Any:
        """The CPU's rasterizer, which knows no bins."""
        faces, first, _, _, _, _, _, bin_size, faces_per_bin, *_ = args
        on_device = [isinstance(x, SimulatedTensor) for x in args[:4]]
        if not any(on_device):
            return self._library.rasterize_meshes(*args)
        if not all(on_device):
            raise MixedDevices("rasterize_meshes: all tensors must be on the same GPU")
        counts.rasterized.append(
            {"views": len(first), "faces": len(faces), "bin_size": bin_size, "faces_per_bin": faces_per_bin}
        )
        with _disable_current_modes():
            out = self._library.rasterize_meshes(*map(to_cpu, args[:7]), 0, *args[8:])
            results = tuple(map(SimulatedTensor, out))
        streams.current.run([x.memory for x in args[:4]], [x.memory for x in results], taken=True)
        return results


def _answers(gpus: int, capability: tuple[int, int]) -> dict[tuple[Any, str], Any]:
    """What functions of `torch.cuda` and Fabric answer, by module and name; None where they only do something."""
    answers: dict[str, Any] = {name: None for name in ("_lazy_init", "synchronize", "set_device", "manual_seed")}
    answers |= {name: None for name in ("manual_seed_all", "set_rng_state", "set_rng_state_all")}
    answers |= {name: 0 for name in ("current_device", "max_memory_allocated", "memory_allocated")}
    answers |= {"is_available": True, "is_initialized": True, "device_count": gpus, "reset_peak_memory_stats": None}
    answers |= {"get_device_name": "simulated", "get_device_capability": capability, "get_rng_state_all": []}
    answers |= {"is_bf16_supported": True, "is_current_stream_capturing": False, "empty_cache": None}
    answers |= {"get_device_properties": SimpleNamespace(total_memory=80 * 2**30)}
    answers |= {"get_rng_state": torch.zeros(16, dtype=torch.uint8)}
    fabric_cuda = importlib.import_module("lightning_fabric.accelerators.cuda")
    grad_scaler = importlib.import_module("torch.cuda.amp.common")
    return {
        **{(torch.cuda, name): answer for name, answer in answers.items()},
        (fabric_cuda, "num_cuda_devices"): gpus,
        (fabric_cuda, "_check_cuda_matmul_precision"): None,
        (grad_scaler, "amp_definitely_not_available"): False,
    }


def _save(save: Callable[..., None]) -> Callable[..., None]:
    """`torch.save` of the values: what `torch.load(..., map_location="cpu")` gives of tensors of a GPU."""

    def save_values(content: Any, file: Any, **more: Any) -> None:
        with _disable_current_modes():
            save(tree_map(_plain, content), file, **more)

    return save_values


def _plain(x: Any) -> Any:
    return to_cpu(x).detach().clone() if isinstance(x, SimulatedTensor) else x


@contextlib.contextmanager
def simulated_cuda(gpus: int = 1, capability: tuple[int, int] = (9, 0)) -> Iterator[Counts]:
    """As if there were GPUs; yields counts that start at zero.

    Args:
        gpus: how many `torch.cuda` sees; all tensors are on the first.
        capability: the compute capability that it says they have.
    """
    rasterize_meshes = importlib.import_module("pytorch3d.renderer.mesh.rasterize_meshes")
    enter, leave, save = torch.autocast.__enter__, torch.autocast.__exit__, torch.save

    def enter_autocast(self: Any) -> Any:
        _autocast.append(self.fast_dtype if self.device == "cuda" and self._enabled else None)
        return enter(self)

    def leave_autocast(self: Any, *error: Any) -> Any:
        _autocast.pop()
        return leave(self, *error)

    patches: dict[tuple[Any, str], Any] = {
        key: (lambda *_, answer=answer, **__: answer) for key, answer in _answers(gpus, capability).items()
    }
    patches |= {
        (rasterize_meshes, "_C"): _PyTorch3D(rasterize_meshes._C),
        (torch.cuda, "Stream"): streams.make,
        (torch.cuda, "stream"): streams.use,
        (torch.cuda, "current_stream"): lambda *_: streams.current,
        (torch.autocast, "__enter__"): enter_autocast,
        (torch.autocast, "__exit__"): leave_autocast,
        (torch, "save"): _save(save),
    }
    originals = {key: getattr(*key) for key in patches}
    torch._C._ensureCUDADeviceGuardSet()  # guards that do nothing
    torch.__future__.set_swap_module_params_on_conversion(True)  # an optimizer keeps its parameters
    counts.reset()
    streams.reset()
    for (owner, name), replacement in patches.items():
        setattr(owner, name, replacement)
    try:
        with _Functions(), _Dispatch():
            yield counts
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def saved_and_loaded(content: Any) -> Any:
    """What a file of `torch.save` gives back on the CPU, within `simulated_cuda`."""
    stream = io.BytesIO()
    torch.save(content, stream)
    stream.seek(0)
    with _disable_current_modes():
        return torch.load(stream, map_location="cpu", weights_only=True)
