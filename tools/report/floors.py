"""Floors that a machine's data sheet sets under a step: predicted, never measured.

A step can't be shorter than its matrix products at the machine's peak, nor than the bytes that each
rank must send at the speed of its link.
"""

from dataclasses import dataclass
from typing import Any

from tools.report.cases import Group


@dataclass(frozen=True)
class Device:
    """Dense peaks in TFLOP/s by dtype; the link in 10^9 bytes a second, one direction, one rank."""

    name: str
    source: str
    peak_tflops: dict[str, float]
    link_gbps: float


_HOPPER = {"fp64": 67, "fp32": 67, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4}

# Tensor cores for all but fp32; figures "with sparsity" halved; NVLink's both directions halved.
DEVICES = [
    Device("NVIDIA H200", "NVIDIA H200 Tensor Core GPU, data sheet (SXM)", _HOPPER, 450),
    Device("NVIDIA H100", "NVIDIA H100 Tensor Core GPU, data sheet (SXM)", _HOPPER, 450),
    Device(
        "NVIDIA A100",
        "NVIDIA A100 Tensor Core GPU, data sheet (SXM)",
        {"fp64": 19.5, "fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312},
        300,
    ),
]


@dataclass(frozen=True)
class Peaks:
    """What the user said, or else the data sheet of the device that the run was on."""

    tflops: float | None = None
    link_gbps: float | None = None

    def of(self, group: Group) -> tuple[float | None, float | None, list[str]]:
        """Peak TFLOP/s and link GB/s of one rank, and where the two are from."""
        device = _device(group.steps[0].host)
        tflops, link, sources = self.tflops, self.link_gbps, []
        if tflops is not None:
            sources.append("--peak_tflops")
        elif device is not None:
            tflops = device.peak_tflops.get(group.case.dtype)
            sources.append(device.source)
        if link is not None:
            sources.append("--link_gbps")
        elif device is not None:
            link = device.link_gbps
            sources.append(device.source)
        return tflops, link, sources


def _device(host: dict[str, Any]) -> Device | None:
    for key, value in host.items():
        if key.startswith("gpu"):
            for device in DEVICES:
                if str(value).startswith(device.name):
                    return device
    return None


def bytes_per_rank(group: Group) -> float:
    """That a rank must send in a step, by the byte contract; a mean where shards are uneven."""
    collectives = group.steps[0].result["bytes"]["collectives"]
    total = sum(collective["contract_bytes"] for collective in collectives)
    return total / (group.case.tp * group.case.dp)


def gemm_floor_ms(group: Group, tflops: float | None) -> float | None:
    return group.case.flops_per_rank / (tflops * 1e9) if tflops else None


def link_floor_ms(group: Group, link_gbps: float | None) -> float | None:
    return bytes_per_rank(group) / (link_gbps * 1e6) if link_gbps else None
