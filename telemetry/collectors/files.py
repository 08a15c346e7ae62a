"""Files of the kernel, kept open and read again from their start, and the numbers in them as an array.

Opening a file for each reading costs 1.3 times as much. What is parsed is learned once from the file as it is: where
the numbers stand among the words. After that a reading is split, picked and converted, with no name handled at all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np

CHUNK = 1 << 16
LAST_CHUNK = 2048
"""Bytes. Most files in /proc come a page at a time: a chunk below half a page is the last, for another line would have
fitted into the page."""

Words = Sequence[bytes]
Rows = list[list[str]]


class KernelFile:
    """A file that is generated anew whenever it is read from its start.

    It is opened at its first reading and stays open, unless half of the descriptors that the process may have are kept
    that way already.

    Args:
        path: of the file.
    """

    kept = 0

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def read(self) -> bytes:
        """The whole file.

        Raises:
            OSError: it is not there, not permitted, or what it described is gone.
        """
        if self._descriptor >= 0:
            return read_all(self._descriptor)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        if KernelFile.kept < os.sysconf("SC_OPEN_MAX") // 2:
            KernelFile.kept += 1
            self._descriptor = descriptor
            return read_all(descriptor)
        try:
            return read_all(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give the descriptor back; the next reading opens the file again."""
        if self._descriptor >= 0:
            KernelFile.kept -= 1
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def read_all(descriptor: int) -> bytes:
    """What an open file of the kernel holds from its start to its end."""
    text = os.pread(descriptor, CHUNK, 0)
    chunk = text
    while len(chunk) >= LAST_CHUNK:
        chunk = os.pread(descriptor, CHUNK, len(text))
        text += chunk
    return text


class Cell(NamedTuple):
    """A number in a file.

    Attributes:
        row: line, from 0; lines without words do not count.
        column: word of the line, from 0.
        name: full series name.
        factor: to the unit of the name.
    """

    row: int
    column: int
    name: str
    factor: float = 1.0


@dataclass(frozen=True)
class Layout:
    """How a file is to be read.

    Attributes:
        cells: from the words of each line to the numbers wanted; called only when the file's shape changes.
        key: word of each line that tells what the line is about; None where lines have no such word.
        separators: characters that stand between words, besides white space.
        number: from a word to its number.
    """

    cells: Callable[[Rows], Iterable[Cell]]
    key: int | None = 0
    separators: bytes = b""
    number: Callable[[bytes], float] = float


class NumberFile:
    """The numbers of one file.

    Args:
        path: of the file.
        layout: how to read it.
        missing: reason -> count of values that could not be read; counted up here.
    """

    def __init__(self, path: str, layout: Layout, missing: Counter[str]) -> None:
        self.names: tuple[str, ...] = ()
        self._file, self._layout, self._missing = KernelFile(path), layout, missing
        self._blanks = bytes.maketrans(layout.separators, b" " * len(layout.separators))
        self._words = -1
        self._keys: Words = ()
        self._pick_keys = self._pick = picker(())
        self._factors = np.ones(0)

    def read(self, out: np.ndarray) -> bool:
        """Write the values in the order of `names`, NaN where they cannot be read.

        Args:
            out: (len(names),) float64.

        Returns:
            False if the file has another shape than before: `names` are new, `out` is worth nothing.
        """
        try:
            text = self._file.read()
        except OSError:
            return self._nothing(out, "unreadable")
        if not text:
            return self._nothing(out, "empty")
        words = text.translate(self._blanks).split()
        if len(words) != self._words or self._pick_keys(words) != self._keys:
            self._learn(text.translate(self._blanks))
            return False
        try:
            out[:] = list(map(self._layout.number, self._pick(words)))
        except ValueError:
            return self._nothing(out, "not a number")
        out *= self._factors
        return True

    def _nothing(self, out: np.ndarray, reason: str) -> bool:
        out[:] = np.nan
        self._missing[reason] += len(out)
        return True

    def _learn(self, text: bytes) -> None:
        rows = [
            [word.decode("utf-8", "replace") for word in line.split()] for line in text.splitlines() if line.strip()
        ]
        starts = np.cumsum([0, *map(len, rows)]).tolist()
        words, key = text.split(), self._layout.key
        cells: dict[str, Cell] = {}
        try:
            for cell in self._layout.cells(rows):
                if cell.column < len(rows[cell.row]) and self._is_number(words[starts[cell.row] + cell.column]):
                    cells[cell.name] = cell
        except (ValueError, IndexError):  # another kernel's idea of this file
            cells = {}
        self.names = tuple(cells)
        self._factors = np.array([cell.factor for cell in cells.values()], dtype=np.float64)
        self._pick = picker([starts[cell.row] + cell.column for cell in cells.values()])
        keyed = range(len(rows)) if key is not None else ()
        self._pick_keys = picker([starts[row] + (key or 0) for row in keyed if (key or 0) < len(rows[row])])
        self._words, self._keys = len(words), self._pick_keys(words)

    def _is_number(self, word: bytes) -> bool:
        try:
            self._layout.number(word)
        except ValueError:
            return False
        return True


def picker(indices: Sequence[int]) -> Callable[[Words], Words]:
    """A function that takes the words at `indices`, as a tuple whatever their number."""
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda words: tuple(words[i] for i in indices)
