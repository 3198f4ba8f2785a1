"""Programming languages by file suffix: which files are read as source code, and what they are counted as."""

from __future__ import annotations

from pathlib import PurePosixPath

_SUFFIXES = {
    "Assembly": ".asm .s",
    "C": ".c .h",
    "C#": ".cs",
    "C++": ".cc .cpp .cxx .hpp .hxx",
    "CMake": ".cmake",
    "CUDA": ".cu",
    "Clojure": ".clj",
    "Cython": ".pyx",
    "Dart": ".dart",
    "Elixir": ".ex .exs",
    "Erlang": ".erl",
    "F#": ".fs",
    "Fortran": ".f .f90",
    "Go": ".go",
    "Haskell": ".hs",
    "Java": ".java",
    "JavaScript": ".js .jsx",
    "Julia": ".jl",
    "Kotlin": ".kt",
    "Lisp": ".lisp",
    "Lua": ".lua",
    "Nim": ".nim",
    "OCaml": ".ml",
    "Objective-C": ".m .mm",
    "PHP": ".php",
    "Perl": ".pl .pm",
    "PowerShell": ".ps1",
    "Protocol Buffers": ".proto",
    "Python": ".py .pyi",
    "R": ".r",
    "Ruby": ".rb",
    "Rust": ".rs",
    "SQL": ".sql",
    "Scala": ".scala",
    "Shell": ".bash .bat .csh .fish .sh .zsh",
    "Swift": ".swift",
    "Tcl": ".tcl",
    "TypeScript": ".ts .tsx",
    "Verilog": ".v",
    "Vim script": ".vim",
    "Visual Basic": ".vb",
    "Zig": ".zig",
}
LANGUAGE_OF_SUFFIX = {suffix: language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of packed files; what is inside has the suffix before."""


def code_language(source: str) -> str:
    """Returns the programming language of a document's source (`corpus/file.py#2`), or `other`."""
    file, mark, record = source.lower().rpartition("#")
    path = PurePosixPath(file if mark and record.isdigit() else source.lower())
    suffix = path.with_suffix("").suffix if path.suffix in PACKED else path.suffix
    return LANGUAGE_OF_SUFFIX.get(suffix, "other")
