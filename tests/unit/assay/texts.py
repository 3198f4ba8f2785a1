"""Datasets for tests of the value: real text of this machine's Python modules, in small documents."""

from __future__ import annotations

import ast
import inspect
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from tilth.storage import Dataset, write_dataset
from tilth.types import Document

MODULES = (
    "argparse ast bdb calendar cmd codecs collections/__init__ configparser datetime difflib dis email/message "
    "fractions ftplib functools http/client imaplib inspect ipaddress logging/__init__ mailbox optparse os pathlib pdb "
    "pickletools platform random shutil smtplib socket statistics string subprocess tarfile tempfile textwrap "
    "threading traceback turtle typing unittest/case uuid zipfile"
)


def docstrings() -> list[str]:
    """Texts that people wrote and that are on every machine: the docstrings of each module, class and function."""
    found: list[str] = []
    for name in MODULES.split():
        path = Path(sysconfig.get_path("stdlib")) / f"{name}.py"
        if not path.exists():
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                if len(text) > 200:
                    found.append(text)
    return list(dict.fromkeys(found))


def dataset(folder: Path, texts: Sequence[str]) -> Dataset:
    """Writes texts as a dataset of the corpus `folder.name`, or opens what is there."""
    if (folder / "dataset.json").exists():
        return Dataset.open(folder)
    documents = [Document.make(text, source=folder.name, corpus=folder.name) for text in texts]
    return write_dataset(folder, documents, made_by="test")
