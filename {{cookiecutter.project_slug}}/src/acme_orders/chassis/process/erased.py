"""Who is erased where: what the chassis and the slices say, put together."""

from acme_orders.chassis.erasure.classes import classes_of, models_beside
from acme_orders.chassis.erasure.eraser import Eraser
from acme_orders.chassis.erasure.own import OWN
from acme_orders.chassis.erasure.subject import Subject
from acme_orders.chassis.settings import ChassisSettings
from acme_orders.chassis.slice import Slice


def eraser_of(settings: ChassisSettings, slices: tuple[Slice, ...]) -> Eraser:
    """Erases people from the database of the service."""
    models = models_beside(each for one in slices for each in one.repositories)
    known = {each.table: each.kinds for each in map(classes_of, models)}
    return Eraser(
        settings.session_url,
        subjects_of(slices),
        {**known, **OWN},
        owner_url=settings.owner_url,
    )


def subjects_of(slices: tuple[Slice, ...]) -> list[Subject]:
    """Where people are known."""
    return [each for one in slices for each in one.subjects]
