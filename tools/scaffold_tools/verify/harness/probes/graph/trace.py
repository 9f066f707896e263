"""Record one forward pass as a dataflow graph of aten operators, with every intermediate value.

All measurements read this graph. It holds no module names on purpose: `nn.Module` classes, their names and the
way a modeling file is organised differ from model to model, the operators that reach the dispatcher do not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = frozenset(
    {
        "view",
        "_unsafe_view",
        "reshape",
        "t",
        "transpose",
        "permute",
        "expand",
        "unsqueeze",
        "squeeze",
        "alias",
        "detach",
    }
    | {"clone", "contiguous", "_to_copy", "lift_fresh", "repeat", "movedim", "swapaxes", "copy"}
)
"""Operators whose result holds the operand's numbers, all of them, in another layout (or dtype)."""
PARTS = frozenset({"slice", "select", "split", "split_with_sizes", "chunk", "unbind", "index_select", "narrow"})
"""Operators whose result holds some of the operand's numbers."""


@dataclass
class Node:
    """One operator call."""

    index: int
    op: str
    inputs: list[int]
    outputs: list[int]
    args: tuple[Any, ...]
    """Arguments as given, with each tensor replaced by `Ref(value id)`."""
    kwargs: dict[str, Any]
    where: str
    """`file.py:line` of the modeling code that called it."""


@dataclass(frozen=True)
class Ref:
    """A tensor argument."""

    value: int


@dataclass
class Graph:
    """Values (tensors, by id), the nodes that made them and those that use them."""

    nodes: list[Node] = field(default_factory=list)
    tensors: list[torch.Tensor] = field(default_factory=list)
    producer: list[int | None] = field(default_factory=list)
    consumers: list[list[int]] = field(default_factory=list)
    params: dict[int, str] = field(default_factory=dict)
    """Value id of each parameter or persistent buffer that was used, and its name."""
    length: int = 0
    """Sequence length S; the batch is 1."""
    inputs: dict[str, int] = field(default_factory=dict)
    output: int = -1
    depends: list[bool] = field(default_factory=list)
    """Per value: whether it depends on the token ids."""

    def made_by(self, value: int) -> Node | None:
        """The node that produced a value; None for parameters, inputs and constants."""
        index = self.producer[value]
        return None if index is None else self.nodes[index]

    def users(self, value: int) -> list[Node]:
        """The nodes that take a value."""
        return [self.nodes[index] for index in self.consumers[value]]

    def op(self, value: int) -> str:
        """Name of the operator that produced a value, empty for leaves."""
        node = self.made_by(value)
        return node.op if node else ""

    def resolve(self, value: int) -> int:
        """Go back through operators that only change layout or dtype."""
        while True:
            node = self.made_by(value)
            if node is None or not node.inputs:
                return value
            if node.op not in VIEWS and not self._whole_part(node):
                return value
            value = node.inputs[0]

    def _whole_part(self, node: Node) -> bool:
        if node.op not in PARTS or len(node.outputs) != 1:
            return False
        return self.tensors[node.outputs[0]].numel() == self.tensors[node.inputs[0]].numel()

    def part_of(self, value: int) -> int:
        """Go back through layout changes and through operators that pick some of the numbers."""
        while True:
            node = self.made_by(value)
            if node is None or not node.inputs or node.op not in VIEWS | PARTS:
                return value
            value = node.inputs[0]

    def data_inputs(self, node: Node) -> list[int]:
        """Operands of a node that depend on the token ids."""
        return [value for value in dict.fromkeys(node.inputs) if self.depends[value]]

    def ancestors(self, value: int, stop: frozenset[int] | set[int] = frozenset()) -> set[int]:
        """All values that a value depends on, itself included, not looking behind those in `stop`."""
        seen: set[int] = set()
        todo = [value]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            node = self.made_by(current)
            if node is not None and current not in stop:
                todo.extend(node.inputs)
        return seen

    def rows(self, value: int) -> torch.Tensor:
        """A value as float64 [S, rest] (batch 1, positions first)."""
        return self.tensors[value].reshape(self.length, -1).double()

    def where(self, value: int) -> str | None:
        """Source line of the operator that made a value."""
        node = self.made_by(value)
        return node.where if node else None


class Recorder(TorchDispatchMode):
    """Dispatch mode that writes a `Graph`."""

    def __init__(self, model: torch.nn.Module, token_ids: torch.Tensor) -> None:
        super().__init__()
        self.graph = Graph(length=token_ids.shape[-1])
        self._ids: dict[int, int] = {}
        self._names = {id(tensor): name for name, tensor in _named_state(model)}
        self._keep: list[Any] = []
        self.graph.inputs["token_ids"] = self.value_of(token_ids)
        self.graph.depends[self.graph.inputs["token_ids"]] = True

    def value_of(self, tensor: torch.Tensor) -> int:
        """Value id of a tensor object; unseen ones become leaves."""
        known = self._ids.get(id(tensor))
        if known is not None:
            return known
        value = self._add(tensor, None)
        name = self._names.get(id(tensor))
        if name is not None:
            self.graph.params[value] = name
        return value

    def _add(self, tensor: torch.Tensor, producer: int | None) -> int:
        graph = self.graph
        value = len(graph.tensors)
        graph.tensors.append(tensor.detach() if tensor.requires_grad else tensor)
        graph.producer.append(producer)
        graph.consumers.append([])
        graph.depends.append(False)
        self._keep.append(tensor)  # ids of dead objects are used again
        self._ids[id(tensor)] = value
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs: list[int] = []
        seen_args = tuple(self._refer(arg, inputs) for arg in args)
        seen_kwargs = {key: self._refer(arg, inputs) for key, arg in kwargs.items()}
        written = [
            args[position]
            for position, formal in enumerate(func._schema.arguments)
            if formal.alias_info is not None and formal.alias_info.is_write and position < len(args)
        ]
        for tensor in written:
            self._freeze(tensor)
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name.endswith("_") and not name.startswith("_"):
            name = name.removesuffix("_")  # in place or not, it computes the same
        node = Node(len(self.graph.nodes), name, inputs, [], seen_args, seen_kwargs, _caller())
        self.graph.nodes.append(node)
        for value in dict.fromkeys(inputs):
            self.graph.consumers[value].append(node.index)
        depends = any(self.graph.depends[value] for value in inputs)
        for tensor in _tensors(result):
            value = self._add(tensor, node.index)
            node.outputs.append(value)
            self.graph.depends[value] = depends
        for tensor in written:
            self._rewrite_bases(tensor, node, depends)
        return result

    def _refer(self, arg: Any, inputs: list[int]) -> Any:
        if isinstance(arg, torch.Tensor):
            inputs.append(self.value_of(arg))
            return Ref(inputs[-1])
        if isinstance(arg, (list, tuple)):
            return tuple(self._refer(item, inputs) for item in arg)
        return arg

    def _freeze(self, tensor: torch.Tensor) -> None:
        """Before an in-place write: the old value (and those it is a view of) keep the old numbers."""
        if not isinstance(tensor, torch.Tensor):
            return
        for value in self._view_chain(self.value_of(tensor)):
            old = self.graph.tensors[value]
            self.graph.tensors[value] = old.clone()

    def _view_chain(self, value: int) -> list[int]:
        chain = [value]
        while True:
            node = self.graph.made_by(chain[-1])
            if node is None or not node.inputs or node.op not in (VIEWS | PARTS) - {"clone", "_to_copy"}:
                return chain
            chain.append(node.inputs[0])

    def _rewrite_bases(self, tensor: torch.Tensor, node: Node, depends: bool) -> None:
        """After an in-place write to a view: what it is a view of is a new value too, made by this node."""
        if not isinstance(tensor, torch.Tensor):
            return
        by_value = {value: kept for kept, value in ((kept, self._ids.get(id(kept))) for kept in self._keep)}
        partly = False
        for old in self._view_chain(node.inputs[0])[1:]:
            partly = partly or self.graph.tensors[old].numel() != tensor.numel()
            kept = by_value.get(old)
            if kept is None or old in self.graph.params:
                continue
            value = self._add(kept, node.index)
            node.outputs.append(value)
            self.graph.depends[value] = depends
            if partly:  # the rest of the base still comes from what it was
                node.inputs.append(old)
                self.graph.consumers[old].append(node.index)
                self.graph.depends[value] = depends or self.graph.depends[old]


def record(model: torch.nn.Module, token_ids: torch.Tensor) -> Graph:
    """Run `model(token_ids)` once and return its graph; `token_ids` is [1, S]."""
    model.eval()
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        recorder = Recorder(model, token_ids)
        with recorder:
            result = model(input_ids=token_ids, use_cache=False)
    logits = result.logits if hasattr(result, "logits") else result[0]
    recorder.graph.output = recorder.value_of(logits)
    return recorder.graph


def _named_state(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Parameters and saved buffers; the first name wins where one tensor has several (tied embeddings)."""
    saved = set(model.state_dict().keys())
    named = list(model.named_parameters())
    return named + [(name, buffer) for name, buffer in model.named_buffers() if name in saved]


def _tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, (list, tuple)):
        return [tensor for item in result for tensor in _tensors(item)]
    return []


def _caller() -> str:
    """The innermost frame that is neither torch's nor ours."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/torch/" not in name and name != __file__ and not name.startswith("<"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
