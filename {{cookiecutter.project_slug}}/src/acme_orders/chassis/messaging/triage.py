"""Decides what a failure is: the message's own, or an incident of the service.

An incident costs no message an attempt. All that waits for its end waits in hand, and one circuit
breaker tells of it: that of PostgreSQL, of RabbitMQ, or of messages of one kind.
"""

import random
from collections.abc import Hashable, Iterable, Sequence

import structlog

from acme_orders.chassis.database.failures import is_out_of_room
from acme_orders.chassis.errors import (
    BrokerUnavailable,
    Conflict,
    DatabaseError,
    DatabaseUnavailable,
    TryLater,
)
from acme_orders.chassis.messaging.broker import Delivery
from acme_orders.chassis.messaging.canary import Canary
from acme_orders.chassis.messaging.circuit_breaker import CircuitBreaker
from acme_orders.chassis.messaging.envelope import Envelope
from acme_orders.chassis.messaging.evidence import Evidence
from acme_orders.chassis.messaging.failures import (
    alike,
    is_doubtful,
    is_permanent,
)
from acme_orders.chassis.messaging.settings import MessagingSettings
from acme_orders.chassis.messaging.waiting_room import Until
from acme_orders.chassis.observability.metrics import Metrics

log = structlog.get_logger()

_FIRST_PAUSE = 0.5  # seconds until a message that nobody can judge yet is tried again


class Triage:
    """Gathers evidence about failures, and keeps the circuits.

    Args:
        canary: asks PostgreSQL.
        settings: which share of failures opens a circuit; without evidence, a message is to blame
            when its hold timeout is over.
        metrics: where open circuits are shown.
    """

    def __init__(
        self,
        canary: Canary,
        settings: MessagingSettings,
        metrics: Metrics,
    ) -> None:
        self._canary, self._settings, self._metrics = canary, settings, metrics
        self._evidence = Evidence(patience=settings.hold_timeout)
        self._kinds: dict[Hashable, CircuitBreaker] = {}
        self.postgresql = self._circuit("postgresql", "outage")
        self.rabbitmq = self._circuit("rabbitmq", "outage")

    async def blocks(self, delivery: Delivery, envelope: Envelope) -> CircuitBreaker | None:
        """The circuit that does not let this message pass now, if there is one."""
        circuit = self.of(envelope)
        if self.postgresql.open and not (
            self.postgresql.admits(delivery) and await self.postgresql_answers()
        ):
            return self.postgresql
        return None if circuit.admits(delivery) else circuit

    def of(self, envelope: Envelope) -> CircuitBreaker:
        """The circuit of messages of this kind."""
        if (circuit := self._kinds.get(envelope.kind)) is None:
            circuit = self._kinds[envelope.kind] = self._circuit(envelope.type, "failures")
        return circuit

    def alone(self, envelope: Envelope) -> bool:
        """Whether to try a message alone, because it has failed before."""
        return self._evidence.doubts(envelope)

    async def postgresql_answers(self) -> bool:
        """Whether a transaction can be opened; if not, its circuit is open afterwards."""
        if why := await self._canary.connects():
            self.postgresql.trip(why, everybody=True)
            return False
        self.postgresql.close()
        return True

    def succeeded(self, envelopes: Sequence[Envelope], *, began: float) -> None:
        """The effects of messages of one kind were committed by a transaction that began then."""
        self._evidence.succeeded(envelopes, began=began)
        kinds: dict[Hashable, list[Envelope]] = {}
        for each in envelopes:
            kinds.setdefault(each.kind, []).append(each)
        for some in kinds.values():
            self.of(some[0]).succeeded(len(some), began=began)

    def tried(self, deliveries: Iterable[Delivery]) -> None:
        """These have been tried; if one was a trial, the next one may begin."""
        for circuit in self._open():
            for delivery in deliveries:
                circuit.end_trial(delivery)

    async def judge(self, envelope: Envelope, error: Exception) -> Until | None:
        """What a message that failed alone has to wait for; None if it is to blame itself."""
        if is_doubtful(error):
            return await self._doubt(envelope, error)
        if is_permanent(error) or isinstance(error, Conflict | TryLater):
            return None
        circuit = self.of(envelope)
        circuit.failed(alike(error))
        return circuit if circuit.open else None

    async def _doubt(self, envelope: Envelope, error: Exception) -> Until | None:
        if not await self.postgresql_answers():
            return self.postgresql
        circuit, sign = self.of(envelope), alike(error)
        if is_out_of_room(error) and (why := await self._canary.finds_no_room()):
            # Who still succeeds proves nothing: whose rows fit into pages that are there is chance.
            circuit.trip(why, everybody=True)
            return circuit
        own = isinstance(error, DatabaseError) and error.own
        if own and (why := await self._canary.processes()):
            circuit.trip(f"{sign}; nor does a harmless message pass: {why}", everybody=True)
        if circuit.open and circuit.everybody:
            return circuit
        ended = isinstance(error, DatabaseUnavailable | BrokerUnavailable)
        found = self._evidence.failed(envelope, sign, ended=ended, incident=circuit.open)
        if found.guilty:
            return self._guilty(circuit, envelope, sign)
        if not found.others:
            circuit.doubted(sign, envelope.key)
        if circuit.open:
            return circuit
        if found.failures == 1:
            log.warning(
                "message.held",
                message_id=envelope.id,
                type=envelope.type,
                error=sign,
                why=str(error),
            )
        pause = min(_FIRST_PAUSE * 2 ** (found.failures - 1), self._settings.failure_pause)
        return random.uniform(pause / 2, pause)  # noqa: S311

    def _guilty(self, circuit: CircuitBreaker, envelope: Envelope, sign: str) -> Until | None:
        """Nothing to wait for, unless so many are guilty of the same that they hardly are."""
        circuit.proved(sign)
        if circuit.open:
            return None
        circuit.failed(sign)
        if circuit.open:
            self._evidence.incident(envelope.kind)
            return circuit
        return None

    async def check(self) -> str:
        """What is being waited for; empty if nothing is.

        Raises:
            DatabaseUnavailable: no message at all can be processed.
        """
        found = self._open()
        told = "; ".join(f"{each.name} for {each.seconds:.0f} s: {each.why}" for each in found)
        if any(each.everybody for each in found):
            raise DatabaseUnavailable(told)
        return told

    def _open(self) -> list[CircuitBreaker]:
        circuits = (self.postgresql, self.rabbitmq, *self._kinds.values())
        return [each for each in circuits if each.open]

    def _circuit(self, name: str, reason: str) -> CircuitBreaker:
        return CircuitBreaker(
            name,
            self._metrics.consumer_paused.labels(reason),
            limit=self._settings.failure_rate,
            window=self._settings.failure_window,
            longest_pause=self._settings.failure_pause,
        )
