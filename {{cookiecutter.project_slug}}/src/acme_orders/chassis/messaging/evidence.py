"""Who is to blame for a failure that may be nobody's fault here: the fate of others says so."""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from acme_orders.chassis.messaging.envelope import Envelope

_MOST = 10_000  # messages that are remembered; more are never in hand
_REFUSED = 2  # failures of a message whose statement PostgreSQL refuses
_ENDED = 3  # failures of one whose session ends, which may be chance
_CHANCE = 1e-4  # how probable chance may be that makes somebody guilty


class Finding(NamedTuple):
    """What a failure means.

    Args:
        guilty: whether the message is to blame.
        failures: how often it has failed alike.
        others: whether another one of its kind has succeeded since it failed first.
    """

    guilty: bool
    failures: int
    others: bool


@dataclass(slots=True)
class _Doubt:
    """What is known about a message that has failed; `first` is a point of the monotonic clock."""

    sign: str
    first: float
    hits: int
    commits: int
    failures: int = 0
    guilty: bool = False


class Evidence:
    """Remembers who failed how often, and who succeeded meanwhile.

    A message is to blame when it has failed alike again and again, and another one of its kind that
    began after its first failure has succeeded. One that is alone is judged when it has been in
    hand for `patience` seconds.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._doubts: OrderedDict[Hashable, _Doubt] = OrderedDict()
        # By kind: when the last transaction that was committed began; how many were; and how
        # often the session of a message ended that succeeded later, so that it was chance.
        self._succeeded: dict[Hashable, float] = {}
        self._commits: Counter[Hashable] = Counter()
        self._hits: Counter[Hashable] = Counter()
        # Signs that somebody was guilty of, by kind, and when that was seen last.
        self._proved: dict[Hashable, dict[str, float]] = {}

    def doubts(self, envelope: Envelope) -> bool:
        """Whether it has failed before, and should be tried alone."""
        return envelope.key in self._doubts

    def succeeded(self, envelopes: Iterable[Envelope], *, began: float) -> None:
        """A transaction for these messages, which began at this time, was committed."""
        kinds = set()
        for each in envelopes:
            kinds.add(each.kind)
            if self._doubts and (doubt := self._doubts.pop(each.key, None)) is not None:
                self._hits[each.kind] += doubt.failures
                if doubt.guilty:  # it was not its own fault after all
                    self._proved[each.kind].pop(doubt.sign, None)
        for kind in kinds:
            self._commits[kind] += 1
            self._succeeded[kind] = max(began, self._succeeded.get(kind, began))

    def incident(self, kind: Hashable) -> None:
        """Messages of this kind fail whatever they are; what was proved before says nothing now."""
        self._proved.pop(kind, None)

    def failed(self, envelope: Envelope, sign: str, *, ended: bool, incident: bool) -> Finding:
        """Take down a failure.

        Args:
            envelope: of the message.
            sign: what alike failures share.
            ended: whether its session ended, which may have hit it by chance.
            incident: whether its kind fails, as far as is known; then patience has no end.
        """
        kind, now = envelope.kind, time.monotonic()
        doubt = self._doubts.get(envelope.key)
        if doubt is None or doubt.sign != sign:
            doubt = _Doubt(sign, now, self._hits[kind], self._commits[kind])
            self._doubts[envelope.key] = doubt
        self._doubts.move_to_end(envelope.key)
        while len(self._doubts) > _MOST:
            self._doubts.popitem(last=False)
        doubt.failures += 1
        proved = self._proved.setdefault(kind, {})
        known = now - proved.get(sign, -math.inf) <= self._patience
        others = self._succeeded.get(kind, doubt.first) > doubt.first
        if doubt.guilty or (
            doubt.failures >= self._needed(kind, doubt, ended=ended, known=known)
            and (others or known)
        ):
            doubt.guilty, proved[sign] = True, now
        elif not incident and now - doubt.first > self._patience:
            doubt.first, doubt.failures = now, 0  # the next attempt has as much
            return Finding(guilty=True, failures=0, others=others)
        return Finding(doubt.guilty, doubt.failures, others)

    def _needed(self, kind: Hashable, doubt: _Doubt, *, ended: bool, known: bool) -> int:
        """How many failures of a message are none of chance."""
        if not ended:
            return 1 if known else _REFUSED
        hits, commits = self._hits[kind] - doubt.hits, self._commits[kind] - doubt.commits
        if not hits:
            return _ENDED
        rate = hits / (hits + commits)
        return max(_ENDED, math.ceil(math.log(_CHANCE) / math.log(rate)))
