"""Libraries of a driver, compiled from C: what ctypes and pynvml really call."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CUDA = """
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char memory[1 << 20];
static size_t number(const char *name) {
  const char *text = getenv(name); return text ? strtoull(text, 0, 10) : 0;
}
int cuGetErrorName(int e, const char **t) {
  *t = "CUDA_ERROR_UNKNOWN";
  if (e == 2) *t = "CUDA_ERROR_OUT_OF_MEMORY";
  if (e == 100) *t = "CUDA_ERROR_NO_DEVICE";
  return 0;
}
int cuInit(unsigned flags) { if (getenv("FAKE_HANG")) pause(); return number("FAKE_INIT"); }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < 8 ? 0 : 101; }
int cuDeviceGetUuid(char *uuid, int device) { memset(uuid, 0x10 + device, 16); return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) {
  if (getenv("FAKE_CRASH") && number("FAKE_CRASH") == device) raise(SIGSEGV);
  return number("FAKE_CONTEXT");
}
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
  *free = number("FAKE_FREE"); *total = 24ull << 30; return 0;
}
int cuMemAlloc_v2(unsigned long long *pointer, size_t size) {
  if (size > number("FAKE_LARGEST")) return number("FAKE_ALLOC") ? number("FAKE_ALLOC") : 2;
  *pointer = (unsigned long long)memory; return 0;
}
int cuMemsetD8_v2(unsigned long long pointer, unsigned char value, size_t size) {
  memset(memory, getenv("FAKE_ROTTEN") ? 0 : value, size); return 0;
}
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t size) {
  memcpy(to, memory, size); return 0;
}
int cuMemFree_v2(unsigned long long pointer) { return 0; }
"""
"""libcuda.so.1, with its memory and its faults in variables FAKE_*."""

NVML = """
#include <string.h>
typedef unsigned long long bytes;
typedef struct { unsigned version; bytes total, reserved, free, used; } memory_v2;
typedef struct {
  char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32];
} pci;
typedef struct { unsigned pid; bytes used; unsigned gpu_instance, compute_instance; } process;
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int error) { return "error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strcpy(text, "580.95.05"); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = (void *)16; return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned length) {
  strcpy(text, "NVIDIA A10"); return 0;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
  strcpy(text, "GPU-10101010-1010-1010-1010-101010101010"); return 0;
}
int nvmlDeviceGetPciInfo_v3(void *device, pci *info) {
  strcpy(info->bus_id, "00000000:17:00.0"); return 0;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  *major = 8; *minor = 6; return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *memory) {
  if (memory->version != 0x02000028) return 25;
  memory->total = 23028ull << 20; memory->reserved = 480ull << 20;
  memory->free = 22000ull << 20; memory->used = 548ull << 20; return 0;
}
int nvmlDeviceGetPersistenceMode(void *device, int *mode) { *mode = 1; return 0; }
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *next) { return 3; }
int nvmlDeviceGetTotalEccErrors(void *device, int type, int counter, bytes *count) {
  *count = type == 1 && counter == 0 ? 0 : 99; return 0;
}
typedef unsigned count;
int nvmlDeviceGetRemappedRows(void *device, count *c, count *u, count *pending, count *failed) {
  *c = 7; *u = 7; *pending = 0; *failed = 0; return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, bytes *reasons) {
  *reasons = 0x85; return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process *found) {
  if (found == 0) { *count = 1; return 7; }
  found[0].pid = 1; found[0].used = 512ull << 20; *count = 1; return 0;
}
"""
"""libnvidia-ml.so.1 of an A10 that a power brake slows down, and of which process 1 holds
memory; as nvml.h of driver 580 declares its functions."""


def compiled(folder: Path, **libraries: str) -> Path:
    """Compile libraries, named as in `libcuda="…"`, and return their folder."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler; get one with: apt-get install gcc libc6-dev")
    for name, source in libraries.items():
        (folder / f"{name}.c").write_text(source)
        target = folder / f"{name.replace('_', '-')}.so.1"
        command = ["cc", "-shared", "-fPIC", "-w", "-o", str(target), str(folder / f"{name}.c")]
        subprocess.run(command, check=True)
    return folder
