"""The versions of a component's knobs: what we have seen, and what others have set since."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class Versions:
    """Remembers at which version each knob was set last, and by whom: by us, or by somebody else.

    A version is text, `instance-count`; see docs/extending.md. A component that tells none has nothing remembered.

    Attributes:
        newest: of the component, as it was last told; empty if it tells none.
    """

    def __init__(self) -> None:
        self.newest = ""
        self._of: dict[str, str] = {}
        self._maybe_ours: set[str] = set()
        self._elsewhere: set[str] = set()

    def saw(self, newest: str, of_knobs: Mapping[str, str]) -> None:
        """The component told its versions.

        Args:
            newest: of the component.
            of_knobs: of each knob's last change.
        """
        for knob in of_knobs.keys() - self._maybe_ours:
            former = self._of.get(knob, of_knobs[knob])
            # Another instance is another process: its knobs are at their defaults, and nobody is behind that.
            if of_knobs[knob] != former and _instance(of_knobs[knob]) == _instance(former):
                self._elsewhere.add(knob)
        self.newest, self._of, self._maybe_ours = newest, dict(of_knobs), set()

    def wrote(self, newest: str, knobs: Collection[str]) -> None:
        """We changed some knobs, which the component answered with its newest version."""
        if not newest:
            self.may_have_written(knobs)
            return
        self.newest = newest
        self._of |= {knob: newest for knob in knobs if knob in self._of}

    def may_have_written(self, knobs: Collection[str]) -> None:
        """We asked for a change, and do not know what became of it: what is seen next of these knobs is ours."""
        self._maybe_ours |= set(knobs)

    def elsewhere(self) -> set[str]:
        """The knobs that somebody else has set, whatever to; the same until `forget`."""
        return set(self._elsewhere)

    def forget(self) -> None:
        """What others have set was told."""
        self._elsewhere.clear()


def _instance(version: str) -> str:
    return version.rpartition("-")[0]
