# feature: http_api
"""The settings of the API port."""

from pydantic import BaseModel, ConfigDict, Field

from acme_orders.chassis.durations import Seconds


class HttpSettings(BaseModel):
    """Who may ask, for how long, and how many at once."""

    model_config = ConfigDict(frozen=True)

    http_port: int = Field(default=8000, ge=0, le=65535, description="the API")
    http_clients: int = Field(
        default=500,
        ge=1,
        description="sockets at once; then the one that kept us waiting longest is closed",
    )
    http_concurrency: int = Field(
        default=4, ge=1, le=100, description="requests at work at once; each uses a connection"
    )
    http_wait: Seconds = Field(
        default=1,
        description="for the requests before; whoever hears 503 soon can ask another process",
    )
    http_timeout: Seconds = Field(
        default=40,
        description="for a request at work, above STATEMENT_TIMEOUT; then its place is free again",
    )
    http_patience: Seconds = Field(
        default=20,
        description="for a head, for a body, for an answer to be read: 50 KiB/s are enough",
    )
    http_idle: Seconds = Field(
        default=75,
        description="between requests; a load balancer that keeps connections for 60 s ends first",
    )
