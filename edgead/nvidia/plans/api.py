"""The part of TensorRT's Python interface that edgead uses, as types.

One description for ``tensorrt`` 8, 10 and 11 and for ``tensorrt_rtx``, because code must type-check
where neither is installed. What only some versions have is asked for with ``getattr`` where it is
used. Enumerations are ``Any``: their members differ.
"""

from __future__ import annotations

from typing import Any, Protocol


class Tensor(Protocol):
    """ITensor of a network."""

    name: str

    @property
    def dtype(self) -> Any: ...

    @property
    def shape(self) -> Any: ...  # -1 where an axis is free


class Layer(Protocol):
    """ILayer of a network."""

    name: str

    @property
    def type(self) -> Any: ...

    @property
    def num_inputs(self) -> int: ...

    @property
    def num_outputs(self) -> int: ...

    def get_input(self, index: int) -> Tensor: ...

    def get_output(self, index: int) -> Tensor: ...


class Network(Protocol):
    """INetworkDefinition."""

    @property
    def num_layers(self) -> int: ...

    @property
    def num_inputs(self) -> int: ...

    @property
    def num_outputs(self) -> int: ...

    def get_layer(self, index: int) -> Layer: ...

    def get_input(self, index: int) -> Tensor: ...

    def get_output(self, index: int) -> Tensor: ...


class ParserError(Protocol):
    """One reason why a graph was not read; newer versions also name the node."""

    def desc(self) -> str: ...

    def node(self) -> int: ...


class OnnxParser(Protocol):
    """OnnxParser."""

    @property
    def num_errors(self) -> int: ...

    def parse(self, model: bytes) -> bool: ...

    def get_error(self, index: int) -> ParserError: ...


class Profile(Protocol):
    """IOptimizationProfile."""

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None: ...


class Config(Protocol):
    """IBuilderConfig."""

    profiling_verbosity: Any
    default_device_type: Any
    DLA_core: int

    def add_optimization_profile(self, profile: Any) -> int: ...

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...

    def set_flag(self, flag: Any) -> None: ...

    def clear_flag(self, flag: Any) -> None: ...

    def can_run_on_DLA(self, layer: Any) -> bool: ...

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any: ...

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool: ...


class Builder(Protocol):
    """Builder."""

    @property
    def num_DLA_cores(self) -> int: ...

    def create_network(self, flags: int = ...) -> Network: ...

    def create_builder_config(self) -> Config: ...

    def create_optimization_profile(self) -> Profile: ...

    def build_serialized_network(self, network: Any, config: Any) -> Any: ...


class TensorRT(Protocol):
    """The module ``tensorrt`` or ``tensorrt_rtx``."""

    __version__: str
    ILogger: Any
    Builder: Any
    OnnxParser: Any
    Runtime: Any
    NetworkDefinitionCreationFlag: Any
    BuilderFlag: Any
    MemoryPoolType: Any
    ProfilingVerbosity: Any
    DeviceType: Any
    LayerType: Any
    DataType: Any
    LayerInformationFormat: Any
