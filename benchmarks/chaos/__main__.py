"""Studies hurt in all the ways that are promised to be harmless: ``python -m benchmarks.chaos --minutes 60 --seed N``.

Round after round a small study, one that has ended or one that was killed on its way, is killed, damaged, starved of
its disk or its data, or started twice; then its user gives the same command again, asks the doctor, and has it repair.
Each answer is held against docs/promises.md and docs/doctor.md: the doctor names every damage and is *clean* after its
repair, and nothing that had finished is lost or trained twice. Kinds come in random order, each once before any comes
again; ``--only PATTERN`` plays some of them. Exit code 0 when all was right. Full disks take the right to
mount.

``--kills 50`` is another form: one longer study under fifty kills beside an undisturbed one.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.chaos import ended, kills, midway
from benchmarks.chaos.rounds import Patterns, Play, begun, prepared


@dataclass(frozen=True)
class Seen:
    """What one round showed."""

    doctor: str
    start: str
    wrong: tuple[str, ...]


def main() -> int:
    """Play for as long as was asked for, and print what was seen."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the data are put back then
    print(f"seed: {options.seed}", flush=True)
    if options.keep:
        Path(options.keep).mkdir(parents=True, exist_ok=True)
        return _play(Path(options.keep), options)
    with TemporaryDirectory(prefix="depthcheck-chaos-") as base:
        return _play(Path(base), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--only", default="", help="play the kinds whose names this pattern matches")
    parser.add_argument("--kills", type=int, default=0, help="kill one longer study so many times, in place of rounds")
    parser.add_argument("--workers", default="2", help="of that study")
    parser.add_argument("--keep", help="folder for the studies, which stay; rounds take them from there again")
    return parser.parse_args()


def _play(base: Path, options: argparse.Namespace) -> int:
    if options.kills:
        return kills.compare(base, n_kills=options.kills, seed=options.seed, workers=options.workers)
    plays = {
        kind: (play, is_midway)
        for is_midway, some in ((False, ended.PLAYS), (True, midway.PLAYS))
        for kind, play in some.items()
        if re.search(options.only, kind)
    }
    if not plays:
        sys.exit(f"--only must match a kind's name, got {options.only!r}")
    start = time.monotonic()
    patterns = prepared(base)
    print(f"two studies to copy: {time.monotonic() - start:.0f} s", flush=True)
    seen: dict[str, list[Seen]] = defaultdict(list)
    for number, kind in enumerate(_kinds(list(plays), random.Random(options.seed))):
        if time.monotonic() - start > options.minutes * 60:
            break
        before = time.monotonic()
        play, is_midway = plays[kind]
        seen[kind].append(_round(patterns, play, is_midway, base / f"round-{number}", f"{options.seed}-{number}"))
        last = seen[kind][-1]
        print(
            f"[{number + 1}] {(time.monotonic() - start) / 60:.1f} min  {kind}: {'WRONG' if last.wrong else 'right'}"
            f"  (doctor {last.doctor}; start {last.start}; {time.monotonic() - before:.0f} s)",
            *last.wrong, sep="\n    ", flush=True,
        )  # fmt: skip
    print(_table(seen))
    return 1 if any(one.wrong for some in seen.values() for one in some) else 0


def _kinds(kinds: Sequence[str], rng: random.Random) -> Iterator[str]:
    while True:
        yield from rng.sample(kinds, len(kinds))


def _round(patterns: Patterns, play: Play, is_midway: bool, folder: Path, seed: str) -> Seen:
    pattern = patterns.half if is_midway else patterns.ended
    with begun(patterns, pattern, folder, random.Random(seed)) as one:
        try:
            play(one)
        except Exception:  # noqa: BLE001 - a round that cannot be played to its end is one that went wrong
            one.wrong.append(traceback.format_exc())
    codes = [", ".join(map(str, said)) or "–" for said in (one.doctor_said, one.start_said)]
    return Seen(*codes, wrong=tuple(one.wrong))


def _table(seen: Mapping[str, Sequence[Seen]]) -> str:
    """Return what was done how often, and the exit codes that came."""
    lines = ["| what was done | times | doctor said | start said | verdict |", "|---|---|---|---|---|"]
    for kind, some in sorted(seen.items()):
        n_wrong = sum(bool(one.wrong) for one in some)
        doctor, start = (
            "; ".join(dict.fromkeys(codes)) for codes in zip(*((s.doctor, s.start) for s in some), strict=True)
        )
        lines.append(f"| {kind} | {len(some)} | {doctor} | {start} | {f'{n_wrong} WRONG' if n_wrong else 'right'} |")
    n_rounds, n_wrong = sum(map(len, seen.values())), sum(bool(s.wrong) for some in seen.values() for s in some)
    return "\n".join([*lines, f"\n{n_rounds} rounds, {n_wrong} of them wrong"])


if __name__ == "__main__":
    sys.exit(main())
