"""Gradients through blocks that change tensors in place after autograd has saved them.

ComfyUI's blocks add to the residual stream in place after a norm has saved it: autograd then raises, and an ordinary
checkpoint of the block fails too. A saved tensor is copied when, and only when, it is about to be changed.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

NO_CHANGE = ("__index__", "__invert__", "__int__", "__init__", "__iter__")
"""Methods of tensors whose names begin as those that change a tensor in place do."""


class _Saved:
    __slots__ = ("__weakref__", "tensor", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor, tensor._version


class CopyOnWrite(TorchFunctionMode):
    """Inside this context, tensors that autograd has saved keep their values."""

    def __init__(self) -> None:
        super().__init__()
        self._saved: dict[int, list[weakref.ref[_Saved]]] = {}
        """By their storage."""
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> _Saved | Tensor:
        if isinstance(tensor, nn.Parameter) or type(tensor) is not Tensor:
            return tensor
        saved = _Saved(tensor.detach())
        self._saved.setdefault(_storage(tensor), []).append(weakref.ref(saved))
        return saved

    def _unpack(self, saved: _Saved | Tensor) -> Tensor:
        if not isinstance(saved, _Saved):
            return saved
        if saved.tensor._version != saved.version:
            raise RuntimeError("A saved tensor was changed in place by an operation that CopyOnWrite does not see.")
        return saved.tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = kwargs.get("out")
        if isinstance(target, Tensor) and torch.is_grad_enabled() and any(_needs_gradient(value) for value in args):
            # Autograd refuses functions that write to a given tensor; it knows how to copy to one.
            result = func(*args, **{name: value for name, value in kwargs.items() if name != "out"})
            self._keep(target)
            return target.copy_(result)
        changed = args[0] if args and _changes(getattr(func, "__name__", "")) else target
        if isinstance(changed, Tensor):
            self._keep(changed)
        return func(*args, **kwargs)

    def _keep(self, target: Tensor) -> None:
        for reference in self._saved.pop(_storage(target), ()):
            saved = reference()
            if saved is not None and saved.tensor._version == saved.version:
                saved.tensor = saved.tensor.clone()
                saved.version = saved.tensor._version

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self._hooks.__exit__(*reason)
        self._saved.clear()


def _storage(tensor: Tensor) -> int:
    # Not its address: tensors without values, of which the memory plan is made, have none.
    return tensor.untyped_storage()._cdata


def _needs_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _changes(name: str) -> bool:
    """Whether a function of this name changes its first argument: `add_`, `__iadd__`, `__setitem__`."""
    if name.endswith("__"):
        return name == "__setitem__" or (name.startswith("__i") and name not in NO_CHANGE)
    return name.endswith("_")


@contextlib.contextmanager
def recomputed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Inside this context, these blocks keep their inputs only, and compute again in the backward pass.

    The backward pass must be inside it too, while the erasers are attached: it runs the hooks again.
    """
    changed: list[tuple[Any, Any]] = []
    try:
        for block in blocks:
            changed.append((block, vars(block).get("forward")))
            vars(block)["forward"] = _recomputing(block.forward)
        yield
    finally:
        for block, own in changed:
            if own is None:
                del vars(block)["forward"]
            else:
                vars(block)["forward"] = own


class _Block(torch.autograd.Function):
    """One block. It gets copies of its inputs, because it may change them in place."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[Sequence[Tensor]], Any], anchor: Tensor, *tensors: Tensor) -> Any:
        ctx.run, ctx.tensors = run, [tensor.detach() for tensor in tensors]
        ctx.requires = [tensor.requires_grad for tensor in tensors]
        ctx.device = tensors[0].device.type
        ctx.autocast = torch.is_autocast_enabled(ctx.device), torch.get_autocast_dtype(ctx.device)
        with torch.no_grad():
            return run([tensor.detach().clone() for tensor in tensors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        pairs = list(zip(ctx.tensors, ctx.requires, strict=True))
        leaves = [tensor.detach().requires_grad_(needed) for tensor, needed in pairs]
        enabled, dtype = ctx.autocast
        with torch.enable_grad(), torch.autocast(ctx.device, dtype, enabled=enabled), CopyOnWrite():
            # A leaf that requires gradients cannot be changed in place; its copy can.
            output = ctx.run([leaf.clone() for leaf in leaves])
        outputs = output if isinstance(output, tuple) else (output,)
        given = [(out, grad) for out, grad in zip(outputs, gradients, strict=True) if grad is not None and out.requires_grad]
        torch.autograd.backward([out for out, _ in given], [grad for _, grad in given])
        return None, None, *(leaf.grad if needed else None for leaf, (_, needed) in zip(leaves, pairs, strict=True))


def _recomputing(own: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        # LTX-2's blocks take pictures and sound as a pair.
        values, form = tree_flatten([*args, *kwargs.values()], is_leaf=lambda value: not isinstance(value, list | tuple))
        places = [place for place, value in enumerate(values) if isinstance(value, Tensor) and value.is_floating_point()]
        given = [values[place] for place in places]
        for place in places:
            values[place] = None

        def run(tensors: Sequence[Tensor]) -> Any:
            whole = list(values)
            for place, tensor in zip(places, tensors, strict=True):
                whole[place] = tensor
            whole = tree_unflatten(whole, form)
            return own(*whole[: len(args)], **dict(zip(kwargs, whole[len(args) :], strict=True)))

        # The inputs of the first block need no gradient, but its erasers do: through the anchor, autograd gets there.
        anchor = torch.zeros((), requires_grad=True)
        return _Block.apply(run, anchor, *given)

    return forward
