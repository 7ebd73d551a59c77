"""Tell whether one run of a benchmark is slower than another.

    python benchmarks/compare.py before.json after.json [--tolerance 0.1]

Prints a line for each way of doing each task that both runs measured; exits with 1 if this
package's own way, the first of a task, became slower by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OURS = "this package"


def medians(measured: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Map (task, way) to its seconds for a second of audio; a task's first way is this package's.

    Its name may change, from one precision or number of threads to another, and is left out.
    """
    return {
        (task["name"], timing["name"] if place else OURS): timing["median_s"] / task["audio_s"]
        for task in measured.get("comparisons", ())
        for place, timing in enumerate(task["timings"])
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two files and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument(
        "--tolerance", type=float, default=0.1, help="share that is noise (%(default)s)"
    )
    options = parser.parse_args(arguments)
    before, after = (
        medians(json.loads(path.read_text(encoding="utf-8")))
        for path in (options.before, options.after)
    )
    common = [key for key in before if key in after]
    if not common:
        print(
            "the two files have no measurement in common that can be compared; "
            "give two of the same script, with the same clips",
            file=sys.stderr,
        )
        return 2
    slower = False
    for task, way in common:
        was, now = before[task, way], after[task, way]
        worse = way == OURS and now > was * (1 + options.tolerance)
        slower |= worse
        mark = "SLOWER" if worse else ""
        print(
            f"{task:<24} {way:<34} {1 / was:>9,.0f} -> {1 / now:>9,.0f} x real time  "
            f"{now / was:>5.2f} x the time  {mark}".rstrip()
        )
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
