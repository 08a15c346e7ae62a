"""NVIDIA GPUs through NVML, if there are any: utilisation, memory, power, clocks, and what each process holds.

The library is asked for at the first reading; without it, without the driver or without a GPU there are no series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from telemetry.collectors.source import SourceError, series_key

CLOCKS = {"NVML_CLOCK_SM": "sm", "NVML_CLOCK_MEM": "memory"}

Value = tuple[str, float]


class AcceleratorSource:
    """What the driver tells of each GPU; what a GPU does not support is absent.

    Args:
        nvml: the library; None imports `pynvml` of the package nvidia-ml-py, if it is installed.
        name: of the source.
    """

    def __init__(self, nvml: Any | None = None, name: str = "accelerator") -> None:
        self.name = name
        self._nvml = nvml
        self._gpus: list[Any] | None = None
        self._keys: dict[tuple[str, ...], str] = {}

    @property
    def present(self) -> bool:
        """Whether there is a GPU that can be asked."""
        return bool(self._devices())

    def collect(self) -> dict[str, float]:
        """Current values; empty without GPUs.

        Raises:
            SourceError: no GPU answers any more, e.g. after the driver was taken away.
        """
        values = {
            self._key(name, gpu): value
            for gpu, device in enumerate(self._devices())
            for read in (_utilization, _memory, _power, _clocks, _errors, _processes)
            for name, value in self._supported(read, device)
        }
        if self._devices() and not values:
            self._gpus = None  # asked for anew at the next reading
            raise SourceError("no GPU answers; is the driver still loaded?")
        return values

    def _devices(self) -> list[Any]:
        if self._gpus is None:
            self._gpus = self._find()
        return self._gpus

    def _find(self) -> list[Any]:
        try:
            if self._nvml is None:
                import pynvml

                self._nvml = pynvml
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            return [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except ImportError:
            return []
        except self._error():
            return []  # no driver here

    def _error(self) -> type[Exception]:
        return self._nvml.NVMLError if self._nvml is not None else OSError

    def _supported(self, read: Callable[[Any, Any], Iterator[Value]], device: Any) -> Iterator[Value]:
        """What `read` yields up to the first figure that this GPU has not; those that few GPUs have come last."""
        try:
            yield from read(self._nvml, device)
        except self._error():
            return

    def _key(self, name: str, gpu: int) -> str:
        key = self._keys.get((name, str(gpu)))
        if key is None:
            metric, *labels = name.split(" ")
            written = dict(label.split("=", 1) for label in labels)
            key = self._keys[name, str(gpu)] = series_key(metric, gpu=str(gpu), **written)
        return key


def _utilization(nvml: Any, device: Any) -> Iterator[Value]:
    """Values by metric name, labels after it in the form ` label=value`."""
    rates = nvml.nvmlDeviceGetUtilizationRates(device)
    yield "accelerator_utilization_ratio", rates.gpu / 100
    yield "accelerator_memory_utilization_ratio", rates.memory / 100


def _memory(nvml: Any, device: Any) -> Iterator[Value]:
    memory = nvml.nvmlDeviceGetMemoryInfo(device)
    yield "accelerator_memory_used_bytes", float(memory.used)
    yield "accelerator_memory_total_bytes", float(memory.total)


def _power(nvml: Any, device: Any) -> Iterator[Value]:
    yield "accelerator_temperature_celsius", float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU))
    yield "accelerator_power_watts", nvml.nvmlDeviceGetPowerUsage(device) / 1000
    yield "accelerator_power_limit_watts", nvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1000
    yield "accelerator_energy_joules_total", nvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1000


def _clocks(nvml: Any, device: Any) -> Iterator[Value]:
    for constant, domain in CLOCKS.items():
        megahertz = nvml.nvmlDeviceGetClockInfo(device, getattr(nvml, constant))
        yield f"accelerator_clock_hertz domain={domain}", megahertz * 1e6
    # A bit mask of reasons: 0 where the clock is as high as asked for.
    reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
    yield "accelerator_throttled", float(bool(reasons & ~nvml.nvmlClocksThrottleReasonGpuIdle))


def _errors(nvml: Any, device: Any) -> Iterator[Value]:
    kinds = {"corrected": nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, "uncorrected": nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED}
    for kind, constant in kinds.items():
        count = nvml.nvmlDeviceGetTotalEccErrors(device, constant, nvml.NVML_VOLATILE_ECC)
        yield f"accelerator_ecc_errors_total kind={kind}", float(count)


def _processes(nvml: Any, device: Any) -> Iterator[Value]:
    for process in nvml.nvmlDeviceGetComputeRunningProcesses(device):
        if process.usedGpuMemory is not None:
            yield f"accelerator_process_memory_bytes pid={process.pid}", float(process.usedGpuMemory)
