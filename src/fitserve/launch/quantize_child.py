"""Quantizes a GGUF with llama.cpp's own library, in a process of its own.

    python -m fitserve.launch.quantize_child LIBRARY INPUT OUTPUT FILE_TYPE THREADS

LIBRARY is a libllama. Its lines go to standard error as llama-quantize prints them; exit code 1 when it refuses.
"""

import ctypes
import sys
from pathlib import Path

_ROOM = 256  # bytes for a struct that grows with releases; its first two fields are what is set


class _Parameters(ctypes.Structure):
    """`llama_model_quantize_params` of llama.h: threads, file type, and the rest as the library's defaults."""

    _fields_ = (("nthread", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_uint8 * _ROOM))


def main(argv: list[str]) -> int:
    """Quantizes; returns the exit code."""
    library, source, target, file_type, threads = argv
    folder = Path(library).resolve().parent
    # the backends that the library loads at run time lie beside it, under names that depend on the build
    _load_backends(folder)
    llama = ctypes.CDLL(library)
    llama.llama_model_quantize_default_params.restype = _Parameters
    llama.llama_model_quantize.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Parameters))
    llama.llama_model_quantize.restype = ctypes.c_uint32
    llama.llama_backend_init()
    parameters = llama.llama_model_quantize_default_params()
    parameters.nthread, parameters.ftype = int(threads), int(file_type)
    return int(bool(llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))))


def _load_backends(folder: Path) -> None:
    """Loads the processor backends beside the library, where it has such."""
    for path in sorted(folder.glob("libggml*.so*")):
        if "-cpu" in path.name or path.name.startswith("libggml-base"):
            continue
        ggml = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        load = getattr(ggml, "ggml_backend_load_all_from_path", None)
        if load is not None:
            load.argtypes = (ctypes.c_char_p,)
            load(str(folder).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
