"""Which columns have personal data: each model says it in its Meta.

`personal`: the data of a person. `free_text`: it may have some, such as a note or a document.
`not_personal`: it has none, whatever happens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from acme_orders.chassis.database.table import Table, models_in

PERSONAL, FREE_TEXT, NOT_PERSONAL = KINDS = ("personal", "free_text", "not_personal")
Kinds = Mapping[str, Mapping[str, str]]  # of the columns of each table


@dataclass(frozen=True)
class Classes:
    """What a model says about its columns.

    Args:
        table: of the model.
        model: its name.
        kinds: of its columns.
        problems: with what it says.
    """

    table: str
    model: str
    kinds: Mapping[str, str]
    problems: tuple[str, ...] = ()

    def line(self, names: Iterable[str]) -> str:
        """What to write about these columns."""
        listed = f"({', '.join(f'{name!r}' for name in names)},)".replace("'", '"')
        others = f"free_text or not_personal = {listed}"
        return f"write personal, {others} in the Meta of {self.model} in models.py"


def classes_of(model: type[Table]) -> Classes:
    """Read the Meta of a model; names of fields count as those of their columns."""
    meta: Any = model._meta  # noqa: SLF001
    columns = {each.name: each.column_name for each in meta.sorted_fields}
    columns |= {name: name for name in columns.values()}
    kinds, problems = dict[str, str](), list[str]()
    for kind in KINDS:
        names = getattr(meta, kind, ())
        if isinstance(names, str):
            problems.append(f'{kind} is a text: write {kind} = ("{names}",)')
            names = (names,)
        for name in names:
            if name not in columns:
                problems.append(f"{kind} has {name!r}, and there is no such column: take it out")
            elif (column := columns[name]) in kinds:
                problems.append(f"{column} is {kinds[column]} and {kind}: leave one of them")
            else:
                kinds[column] = kind
    about = f"the Meta of {model.__name__}: "
    return Classes(
        str(meta.table_name), model.__name__, kinds, tuple(about + each for each in problems)
    )


def models_beside(repositories: Iterable[object]) -> list[type[Table]]:
    """The models of slices with these repositories, in the order of their names."""
    rooms = {type(each).__module__.rpartition(".")[0] for each in repositories}
    found = {model for room in rooms for model in models_in(room)}
    return sorted(found, key=lambda model: model.__name__)
