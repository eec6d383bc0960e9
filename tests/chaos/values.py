"""The content of an output folder as plain values, so that two folders can be compared.

Times, digests of bytes that contain times, and the path of the folder itself are left out.
"""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LEFT_OUT = re.compile(r"seconds|digest|sha256")
"""Fields whose value differs between two equal runs."""
SHA256 = re.compile(r"^[0-9a-f]{64}$")
LOCKS = ".locks"


def values(folder: Path, same: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the content of each file below ``folder`` by its relative path. Journals of shards become one journal.

    Parameters
    ----------
    same
        Text to replace in all strings, for example the path of a copy by the path of the original.
    """
    same = {str(folder): "OUT", **(same or {})}
    found: dict[str, Any] = {}
    journal: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("journal") and path.suffix == ".jsonl":
            journal.update(_journal(path, same))
            continue
        try:
            content = READERS.get(path.suffix, _text)(path)
        except Exception as error:  # noqa: BLE001 - a file that its library cannot read is a value as well
            content = f"unreadable: {type(error).__name__}: {error}"
        found[name] = {"mode": oct(stat.S_IMODE(path.stat().st_mode)), "content": _plain(content, same)}
    return found | ({"journal": journal} if journal else {})


def differences(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    """Return one line per file that is missing, unexpected or different."""
    lines = [f"{name}: missing" for name in expected.keys() - actual.keys()]
    lines += [f"{name}: unexpected" for name in actual.keys() - expected.keys()]
    for name in expected.keys() & actual.keys():
        if where := _first_difference(expected[name], actual[name]):
            lines.append(f"{name}: {where}")
    return sorted(lines)


def _first_difference(expected: Any, actual: Any, where: str = "") -> str:
    if repr(expected) == repr(actual):  # NaN equals NaN
        return ""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in [*expected, *(key for key in actual if key not in expected)]:
            if key not in expected or key not in actual:
                return f"{where}/{key} is {'missing' if key in expected else 'unexpected'}"
            if found := _first_difference(expected[key], actual[key], f"{where}/{key}"):
                return found
        return ""  # the order of keys does not matter
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = zip(expected, actual, strict=True)
        found_in = (_first_difference(one, other, f"{where}/{at}") for at, (one, other) in enumerate(pairs))
        return next(filter(None, found_in), "")
    return f"{where} is {str(actual)[:80]!r}, expected {str(expected)[:80]!r}"


def _plain(value: Any, same: Mapping[str, str]) -> Any:
    """Return ``value`` without the fields in `LEFT_OUT`, and with JSON in strings parsed."""
    if isinstance(value, dict):
        return {str(key): _plain(each, same) for key, each in value.items() if not LEFT_OUT.search(str(key))}
    if isinstance(value, list | tuple):
        return [_plain(each, same) for each in value]
    if isinstance(value, str):
        if value.startswith(("{", "[")):
            try:
                return _plain(json.loads(value), same)
            except ValueError:
                pass
        for text, other in same.items():
            value = value.replace(text, other)
        return "a SHA-256" if SHA256.match(value) else value
    return value


def _journal(path: Path, same: Mapping[str, str]) -> dict[str, Any]:
    """Return the records of a journal by report. Lines that are cut off or damaged are left out."""
    records: dict[str, Any] = {}
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        try:
            record = json.loads(line)
            records[record["report_id"]] = _plain(record, same)
        except (ValueError, KeyError, TypeError):
            continue
    return records


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read()
    metadata = {key.decode(): value.decode("utf-8", "replace") for key, value in (table.schema.metadata or {}).items()}
    metadata.pop("ARROW:schema", None)
    return {
        "types": {field.name: str(field.type) for field in table.schema},
        "metadata": metadata,
        "rows": table.to_pylist(),
    }


def _hdf5(path: Path) -> Any:
    import h5py

    content: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        content["attributes"] = {name: str(value) for name, value in file.attrs.items()}
        for name, dataset in file.items():
            attributes = {key: str(value) for key, value in dataset.attrs.items()}
            content[name] = [str(dataset.dtype), dataset[:].tolist(), attributes]
    return content


def _safetensors(path: Path) -> Any:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = file.metadata() or {}
    return {**{name: [str(tensor.dtype), tensor.tolist()] for name, tensor in tensors.items()}, "metadata": metadata}


def _picture(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as picture:
        return [picture.mode, picture.size, picture.tobytes().hex()]


def _zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        content = {info.filename: archive.read(info).hex() for info in archive.infolist()}
        return {"comment": archive.comment.decode(), **content}


def _yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text("utf-8"))


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _text(path: Path) -> Any:
    return path.read_bytes().decode("utf-8", "backslashreplace")


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".parquet": _parquet,
    ".h5": _hdf5,
    ".safetensors": _safetensors,
    ".jpg": _picture,
    ".png": _picture,
    ".zip": _zip,
    ".yaml": _yaml,
    ".json": _json,
    ".geojson": _json,
}
