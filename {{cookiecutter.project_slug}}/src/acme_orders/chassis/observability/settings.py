"""The settings of logs, metrics and probes."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from acme_orders.chassis.durations import Seconds

# Compose passes on what is unset as an empty text.
_Token = Annotated[
    Annotated[str, Field(min_length=16)] | None, BeforeValidator(lambda given: given or None)
]


class ObservabilitySettings(BaseModel):
    """What can be seen of the process, and where."""

    model_config = ConfigDict(frozen=True)

    operations_port: int = Field(
        default=9000, ge=0, le=65535, description="/metrics, /live, /ready; not for the public"
    )
    operations_token: _Token = Field(
        default=None,
        repr=False,
        description="opens the page of this port to other machines, and changes by it; 16 "
        "characters or more, because anybody who reaches the port may try",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = Field(default="json", description="json for machines")
    log_burst: int = Field(
        default=10,
        ge=1,
        description="lines about one cause, then they are counted; ten show the pattern",
    )
    log_interval: Seconds = Field(
        default=1, description="between the lines after LOG_BURST; an outage of an hour writes 3600"
    )
    # feature: tracing {
    trace_share: float = Field(
        default=1,
        ge=0,
        le=1,
        description="of the traces that begin here and are recorded; all, as long as it is few",
    )
    # feature: tracing }
    loop_lag_limit: Seconds = Field(
        default=5,
        description="a blocked loop sends no heartbeats, and is cut off after three of them",
    )
