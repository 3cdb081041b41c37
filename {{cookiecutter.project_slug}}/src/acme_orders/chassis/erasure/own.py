"""What the chassis itself writes: which of its columns may have personal data, and what goes."""

from collections.abc import Mapping

from acme_orders.chassis.erasure.classes import FREE_TEXT, NOT_PERSONAL


def _table(*, free_text: str = "", not_personal: str = "") -> Mapping[str, str]:
    kinds = {FREE_TEXT: free_text, NOT_PERSONAL: not_personal}
    return {name: kind for kind, names in kinds.items() for name in names.split()}


# A row of these goes as a whole: it is on its way, or a copy of what was.
_COPIES: Mapping[str, Mapping[str, str]] = {
    "outbox": _table(free_text="ordering_key body extensions last_error", not_personal="type"),
    "inbox": _table(free_text="source id type", not_personal="consumer payload_hash"),
    "dead_letters": _table(
        # The fingerprint is a header too: as it is, a sample would show a value of the headers.
        free_text="message_id source type error_message headers properties body note fingerprint",
        not_personal="queue reason error_type state",
    ),
    "backfill_event": _table(free_text="key detail", not_personal="name place what"),
    # feature: http_api {
    "idempotency_keys": _table(free_text="key headers body", not_personal="digest"),
    # feature: http_api }
}
GOING = frozenset(_COPIES)
OWN: Mapping[str, Mapping[str, str]] = {
    **_COPIES,
    "parked_types": _table(not_personal="type reason error"),
    "backfill_run": _table(
        free_text="cursor upper_bound last_error", not_personal="name state owner checksum"
    ),
    "retention_run": _table(not_personal="trace_id policy actor deleted digest state error"),
    "tenants": _table(free_text="name"),  # feature: row, rls, schema
    "erasure_request": _table(not_personal="digest whose state actor trace_id error evidence"),
    "legal_hold": _table(not_personal="digest whose actor reason"),
    "schema_migrations": _table(
        not_personal="id checksum direction status applied_by app_version error"
    ),
}
