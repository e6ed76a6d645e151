"""Holds libllaisys.so against PyTorch the way LLAISYS's own test programs do: the same shapes, inputs
uniform in [0, 1), PyTorch on the same device and in the same type, the same tolerances.

    python3 test/llaisys/compare_with_torch.py [--device cpu|nvidia] [--library PATH]

Needs PyTorch, so it is not part of `npm test`; test/kernels holds the operators to stricter references.
"""

import argparse
import ctypes
import math
import sys

import torch

CPU, NVIDIA = 0, 1
DEVICE_TO_DEVICE = 3
DTYPES = {torch.int64: 6, torch.float16: 12, torch.float32: 13, torch.bfloat16: 19}
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
TOLERANCES = {"f32": 1e-5, "f16": 1e-3, "bf16": 1e-2}


class RuntimeApi(ctypes.Structure):
    _fields_ = [
        ("get_device_count", ctypes.CFUNCTYPE(ctypes.c_int)),
        ("set_device", ctypes.CFUNCTYPE(None, ctypes.c_int)),
        ("device_synchronize", ctypes.CFUNCTYPE(None)),
        ("create_stream", ctypes.CFUNCTYPE(ctypes.c_void_p)),
        ("destroy_stream", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("stream_synchronize", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("malloc_device", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)),
        ("free_device", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("malloc_host", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)),
        ("free_host", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
        ("memcpy_sync", ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)),
        ("memcpy_async", ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)),
    ]


class Library:
    """The functions used here, and tensors that copy PyTorch's."""

    def __init__(self, path: str, device: str):
        self.lib = ctypes.CDLL(path)
        self.device = NVIDIA if device == "nvidia" else CPU
        self.torch_device = "cuda" if device == "nvidia" else "cpu"
        pointer = ctypes.c_void_p
        self.lib.llaisysGetRuntimeAPI.restype = ctypes.POINTER(RuntimeApi)
        self.lib.tensorCreate.restype = pointer
        self.lib.tensorCreate.argtypes = [
            ctypes.POINTER(ctypes.c_size_t), ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self.lib.tensorGetData.restype = pointer
        self.lib.tensorGetData.argtypes = [pointer]
        self.lib.tensorDestroy.argtypes = [pointer]
        self.api = self.lib.llaisysGetRuntimeAPI(self.device).contents

    def call(self, name: str, outputs: list, inputs: list, *scalars: float) -> list:
        """Runs an operator on copies; returns its outputs as PyTorch tensors like `outputs`."""
        handles = [self.copy_of(tensor) if tensor is not None else None for tensor in outputs + inputs]
        arguments = [ctypes.c_void_p(handle) for handle in handles]
        getattr(self.lib, name)(*arguments, *[ctypes.c_float(scalar) for scalar in scalars])
        results = [torch.empty_like(tensor) for tensor in outputs]
        for result, handle in zip(results, handles):
            self.transfer(result.data_ptr(), self.lib.tensorGetData(handle), result)
        for handle in handles:
            self.lib.tensorDestroy(handle)
        return results

    def copy_of(self, tensor: torch.Tensor) -> int:
        shape = (ctypes.c_size_t * tensor.dim())(*tensor.shape)
        handle = self.lib.tensorCreate(shape, tensor.dim(), DTYPES[tensor.dtype], self.device, 0)
        self.transfer(self.lib.tensorGetData(handle), tensor.data_ptr(), tensor)
        return handle

    def transfer(self, to: int, source: int, like: torch.Tensor) -> None:
        self.api.memcpy_sync(to, source, like.numel() * like.element_size(), DEVICE_TO_DEVICE)


class Comparison:
    """One operator after the other in one type; counts what differs."""

    def __init__(self, library: Library, type_name: str):
        self.library = library
        self.name = type_name
        self.dtype = TYPES[type_name]
        self.num_failed = 0

    def rand(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, dtype=self.dtype, device=self.library.torch_device)

    def empty(self, *shape: int, dtype=None) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype or self.dtype, device=self.library.torch_device)

    def check(self, what: str, got: torch.Tensor, want: torch.Tensor, tolerance=None) -> None:
        tolerance = TOLERANCES[self.name] if tolerance is None else tolerance
        holds = torch.allclose(got, want, atol=tolerance, rtol=tolerance)
        error = (got.double() - want.double()).abs().max().item()
        print(f"{'ok' if holds else 'NOT OK':7}{self.name:5}{what}: largest error {error:.2e}, "
              f"allowed {tolerance:g} (1 + |value|)")
        self.num_failed += not holds

    def element_wise(self, shape: tuple) -> None:
        a, b = self.rand(*shape), self.rand(*shape)
        (got,) = self.library.call("llaisysAdd", [self.empty(*shape)], [a, b])
        self.check(f"add {shape}", got, a + b, min(TOLERANCES[self.name], 1e-3))
        (got,) = self.library.call("llaisysSwiGLU", [self.empty(*shape)], [a, b])
        want = b * (a / (1 + torch.exp(-a.float())).to(self.dtype))
        self.check(f"swiglu {shape}", got, want)
        weight = self.rand(shape[1])
        (got,) = self.library.call("llaisysRmsNorm", [self.empty(*shape)], [a, weight], 1e-5)
        want = a * torch.rsqrt(a.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
        self.check(f"rms_norm {shape}", got, want)

    def argmax(self, count: int) -> None:
        values = self.rand(count)
        outputs = [self.empty(1, dtype=torch.int64), self.empty(1)]
        index, value = self.library.call("llaisysArgmax", outputs, [values])
        self.check(f"argmax ({count})", value, values.max().reshape(1), 0)
        self.check(f"argmax ({count}) index", values[index], value, 0)

    def embedding(self, num_tokens: int, shape: tuple) -> None:
        index = torch.randint(0, shape[0], (num_tokens,), device=self.library.torch_device)
        weight = self.rand(*shape)
        output = self.empty(num_tokens, shape[1])
        (got,) = self.library.call("llaisysEmbedding", [output], [index, weight])
        self.check(f"embedding {num_tokens} of {shape}", got, weight[index], 0)

    def linear(self, m: int, n: int, k: int) -> None:
        x, weight, bias = self.rand(m, k) * 0.1, self.rand(n, k) * 0.01, self.rand(n)
        for b in (bias, None):
            (got,) = self.library.call("llaisysLinear", [self.empty(m, n)], [x, weight, b])
            name = f"linear ({m}, {k}) x ({n}, {k}){'' if b is not None else ' without a bias'}"
            self.check(name, got, torch.nn.functional.linear(x, weight, b))

    def rope(self, shape: tuple, first: int) -> None:
        x = self.rand(*shape)
        positions = torch.arange(first, first + shape[0], device=self.library.torch_device)
        (got,) = self.library.call("llaisysROPE", [self.empty(*shape)], [x, positions], 1e4)
        half = shape[2] // 2
        exponents = 2 * torch.arange(half, dtype=torch.float32, device=x.device) / shape[2]
        angles = (positions.float()[:, None] / (1e4**exponents))[:, None, :]
        a, b = x[..., :half], x[..., half:]
        cosines, sines = angles.cos(), angles.sin()
        want = torch.cat([a * cosines - b * sines, b * cosines + a * sines], -1).to(self.dtype)
        self.check(f"rope {shape}", got, want, max(TOLERANCES[self.name], 1e-4))

    def attention(self, sq: int, skv: int, nh: int, nkv: int, d: int) -> None:
        q, k, v = self.rand(sq, nh, d), self.rand(skv, nkv, d), self.rand(skv, nkv, d)
        scale = 1 / math.sqrt(d)
        (got,) = self.library.call(
            "llaisysSelfAttention", [self.empty(sq, nh, d)], [q, k, v], scale)
        keys, values = (t.repeat_interleave(nh // nkv, 1).transpose(0, 1) for t in (k, v))
        scores = q.transpose(0, 1) @ keys.transpose(1, 2) * scale
        sees = torch.ones(sq, skv, dtype=torch.bool, device=q.device).tril(skv - sq)
        weights = scores.masked_fill(~sees, float("-inf")).softmax(-1)
        self.check(f"self_attention {sq, skv, nh, nkv, d}", got, (weights @ values).transpose(0, 1))

    def run(self) -> int:
        for shape in ((2, 3), (512, 4096)):
            self.element_wise(shape)
        self.argmax(4)
        self.argmax(4096)
        self.embedding(1, (2, 3))
        self.embedding(50, (512, 4096))
        self.linear(2, 3, 4)
        self.linear(512, 4096, 4096)
        self.rope((2, 1, 4), 0)
        self.rope((512, 4, 4096), 512)
        self.attention(2, 2, 1, 1, 4)
        self.attention(5, 11, 4, 2, 8)
        return self.num_failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "nvidia"], default="cpu")
    parser.add_argument("--library", default="build/native/llaisys/libllaisys.so")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    library = Library(options.library, options.device)
    num_failed = sum(Comparison(library, name).run() for name in TYPES)
    print(f"{num_failed} comparisons failed" if num_failed else "all comparisons hold")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
