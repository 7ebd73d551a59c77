"""What labels in a file claim, in words and as part of a report; how they are read is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Claim(StrEnum):
    """What a label says of the content, in the three grades of the Labelling Measures, article 6.

    ``is_generated`` (属于): the metadata say that it is content generated or synthesised by AI
    (人工智能生成合成内容). ``may_be`` (可能为): they do not, but the user who published it does.
    ``suspected`` (疑似): neither does, but traces were detected.
    """

    IS_GENERATED = "is_generated"
    MAY_BE = "may_be"
    SUSPECTED = "suspected"

    @property
    def phrase(self) -> str:
        """The claim as words."""
        return _CLAIMS[self]


_CLAIMS = {
    Claim.IS_GENERATED: "is generated",
    Claim.MAY_BE: "may be generated",
    Claim.SUSPECTED: "suspected to be generated",
}


@dataclass(frozen=True)
class Provenance:
    """What labels inside the file claim; beside the score, never part of it.

    Attributes
    ----------
    aigc : dict or None
        AIGC label of GB 45438-2025: what it ``says`` (a :class:`Claim` or None), ``where`` it is,
        its ``fields`` as found, and ``deviations`` from the standard.
    c2pa : dict or None
        C2PA manifest; see :func:`deepfake_audio.provenance.manifest.read_manifest`.
    rhythm_s : float or None
        Where the audible label (short-long, short-short) begins, seconds.
    read : bool
        Labels were looked for, and all tags could be read; if not, None says nothing.
    """

    aigc: dict[str, Any] | None = None
    c2pa: dict[str, Any] | None = None
    rhythm_s: float | None = None
    read: bool = False

    def phrases(self) -> list[str]:
        """Return what was found, each label in a few words."""
        found = []
        if self.aigc is not None:
            says = self.aigc["says"]
            found.append(f"AIGC: {Claim(says).phrase if says else 'unreadable'}")
        if self.c2pa is not None:
            says = self.c2pa["says"]
            about = f", {Claim(says).phrase}" if says else ""
            found.append(printable(f"C2PA: {self.c2pa['state'].lower()}{about}"))
        if self.rhythm_s is not None:
            found.append(f"audible label at {self.rhythm_s:.1f} s")
        return found

    def lines(self) -> list[str]:
        """Return a line for each label: what it claims, and how far it can be believed."""
        lines = self.phrases()
        if not lines:
            return ["none found"] if self.read else []
        at = 0
        if self.aigc is not None:
            deviations = self.aigc["deviations"]
            lines[at] += f" ({self.aigc['where']})"
            lines[at] += f"; deviates: {', '.join(deviations)}" if deviations else ""
            at += 1
        if self.c2pa is not None:
            known = [self.c2pa[key] for key in ("generator", "signer", "problem") if self.c2pa[key]]
            lines[at] += f" ({', '.join([*known, self.c2pa['where']])})"
        return [printable(line) for line in lines]


def printable(text: str) -> str:
    """Escape line breaks, control characters and lone surrogates, which file names may hold."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
