from __future__ import annotations

from types import SimpleNamespace

import pytest

from telemetry.collectors.accelerator import AcceleratorSource
from telemetry.collectors.source import SourceError


class NoSuchFigure(Exception):
    pass


class Nvml:
    """As much of NVML as is read, for hosts without a GPU; units are NVML's: percent, mW, mJ, MHz."""

    NVMLError = NoSuchFigure
    NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = NVML_MEMORY_ERROR_TYPE_CORRECTED = NVML_VOLATILE_ECC = 0
    NVML_CLOCK_MEM = NVML_MEMORY_ERROR_TYPE_UNCORRECTED = nvmlClocksThrottleReasonGpuIdle = 1
    lost = False

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def __getattr__(self, name: str) -> object:
        answers = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=50, memory=20),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1000, total=4000),
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetPowerUsage": 250_000,
            "nvmlDeviceGetClockInfo": 1500,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 1,
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7, usedGpuMemory=900)],
        }

        def answer(*_: object) -> object:
            if self.lost or name not in answers:
                raise NoSuchFigure
            return answers[name]

        return answer


def test_figures_are_in_base_units_and_what_a_gpu_has_not_is_absent() -> None:
    assert AcceleratorSource(Nvml()).collect() == {
        'accelerator_utilization_ratio{gpu="0"}': 0.5,
        'accelerator_memory_utilization_ratio{gpu="0"}': 0.2,
        'accelerator_memory_used_bytes{gpu="0"}': 1000,
        'accelerator_memory_total_bytes{gpu="0"}': 4000,
        'accelerator_temperature_celsius{gpu="0"}': 61,
        'accelerator_power_watts{gpu="0"}': 250,
        'accelerator_clock_hertz{gpu="0",domain="sm"}': 1.5e9,
        'accelerator_clock_hertz{gpu="0",domain="memory"}': 1.5e9,
        'accelerator_throttled{gpu="0"}': 0,
        'accelerator_process_memory_bytes{gpu="0",pid="7"}': 900,
    }


def test_a_gpu_that_is_lost_is_an_error_and_asked_again() -> None:
    nvml = Nvml()
    source = AcceleratorSource(nvml)
    nvml.lost = True
    with pytest.raises(SourceError, match="no GPU answers"):
        source.collect()
    nvml.lost = False
    assert len(source.collect()) == 10


def test_a_host_without_gpus_or_the_library_has_no_series() -> None:
    source = AcceleratorSource()
    assert source.collect() == {} or source.present
