"""Hostile inputs, drawn by a seed: JSON with values of the wrong kind, damaged bytes, files that are no files."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["VALUES", "damage", "damage_file", "deep", "spoil_json", "spoil_text", "stand_in"]

#: What somebody may write where something else is meant.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, -(2**63) - 1, 10**18, 10**400, 0.5, -0.0, 1e308, 5e-324, 20_000),
    *("", " ", "0", "nan", "inf", "x", "..", "../..", "/", "/etc/passwd", "folder:/", "folder:~nobody/x", "C:\\x"),
    *("x" * 300, "x" * 100_000, "\x1b[2J", "a\nb", "\0", "\ud800", "é", "e\u0301", "\u202etxt", "$x_{$", "%s%d", "{0}"),
    *("<script>alert(1)</script>", "=1+1|x", "int[", "digits", "fashion-mnist", "none", "coloured"),
    *([], {}, [1], [None], [[]], ["a", 1], {"a": 1}, {"": ""}, [1e308] * 50, [[0] * 3] * 3, list(range(1000))),
]


def deep(levels: int = 100_000) -> str:
    """JSON that is nested so deep that a reader which recurses falls over."""
    return "[" * levels + "]" * levels


def spoil_json(text: str, draw: random.Random) -> str:
    """A JSON text with some of its values replaced, removed, renamed or added to."""
    try:
        held = json.loads(text)
    except ValueError:  # damaged before
        return text
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        held = _spoilt(held, draw)
    try:
        return json.dumps(held)
    except ValueError:
        return deep(1000)


def _spoilt(held: Any, draw: random.Random) -> Any:
    held = copy.deepcopy(held)
    inside: Any = held
    while isinstance(inside, (dict, list)) and inside:
        key = draw.choice(list(inside)) if isinstance(inside, dict) else draw.randrange(len(inside))
        if not isinstance(inside[key], (dict, list)) or not inside[key] or draw.random() < 0.3:
            how = draw.random()
            if how < 0.8:
                inside[key] = draw.choice(VALUES)
            elif how < 0.9:
                del inside[key]
            elif isinstance(inside, dict):
                inside[str(draw.choice(VALUES))[:200]] = inside.pop(key)
            else:
                inside.insert(key, draw.choice(VALUES))
            return held
        inside = inside[key]
    return draw.choice(VALUES)


def spoil_text(text: str, draw: random.Random) -> str:
    """A text (YAML, CSV) with lines doubled, dropped and swapped, and words replaced."""
    lines = text.splitlines(keepends=True) or [""]
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(lines))
        how = draw.randrange(6)
        if how == 0:
            lines.insert(at, lines[at])
        elif how == 1 and len(lines) > 1:
            del lines[at]
        elif how == 2:
            lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
        elif how == 3:
            words = lines[at].split(" ")
            words[draw.randrange(len(words))] = str(draw.choice(VALUES))
            lines[at] = " ".join(words)
        elif how == 4:
            place = draw.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + draw.choice(list("\t\"'{}[]&*!|>%@`#:,-?\0\x1b\ufeff")) + lines[at][place:]
        else:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "".join(lines)


def damage(data: bytes, draw: random.Random) -> bytes:
    """Bytes as a disk, a transfer or somebody with bad intentions leaves them."""
    how = draw.randrange(7)
    if how == 0:
        return b""
    if how == 1:
        return data[: draw.randrange(len(data) + 1)]
    if how == 2:
        return data + draw.randbytes(draw.randrange(1, 2000))
    if how == 3:
        return draw.randbytes(draw.randrange(1, 5000))
    if how == 4 and data:
        start = draw.randrange(len(data))
        return data[:start] + draw.randbytes(min(50, len(data) - start)) + data[start + 50 :]
    if how == 5:
        return _bomb()
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 30)):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _bomb() -> bytes:
    """A small archive that would inflate to 3 GB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("labels.npy", "w") as file:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000000,), }"
        header += b" " * (117 - len(header)) + b"\n"
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(60_000_000))
    data = buffer.getvalue()
    return data.replace((60_000_128).to_bytes(4, "little"), (3_000_000_000).to_bytes(4, "little"))


def damage_file(path: Path, draw: random.Random) -> None:
    """Damage a file in one of the ways of this module."""
    if draw.random() < 0.15:
        stand_in(path, draw)
        return
    data = path.read_bytes()
    if draw.random() < 0.2 or path.suffix not in (".json", ".csv", ".yaml"):
        path.write_bytes(damage(data, draw))
        return
    text = data.decode(errors="replace")
    if path.suffix == ".json":
        spoilt = deep() if draw.random() < 0.1 else spoil_json(text, draw)
    else:
        spoilt = spoil_text(text, draw)
    path.write_bytes(spoilt.encode("utf-8", "surrogatepass"))


def stand_in(path: Path, draw: random.Random) -> None:
    """Put a pipe, a folder, a link that leads away, or nothing, in a file's place."""
    path.unlink()
    how = draw.randrange(5)
    if how == 0:
        os.mkfifo(path)
    elif how == 1:
        path.mkdir()
    elif how == 2:
        path.symlink_to("/etc/hostname")
    elif how == 3:
        path.symlink_to(path.name)  # leads to itself
