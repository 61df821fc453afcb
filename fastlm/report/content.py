"""The content of a report: sections of text, figures, tables, plots and executed code, without any markup."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from fastlm.report.then import Then

Better = Literal["lower", "higher", "equal"]
Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Figure:
    """A measured or computed value next to the value of the write-up.

    Attributes:
        what: Name of the value.
        now: The value of this run.
        unit: Unit of both values.
        then: The value of the write-up; None if it has none.
        better: Which values are better; "equal" for values that should agree, or that cannot be compared.
        note: A remark, such as the reason of an error in the write-up.
        comparable: Whether the ratio says anything. A time on a stand-in of another size is not comparable.
    """

    what: str
    now: Cell
    unit: str = ""
    then: Then | None = None
    better: Better = "equal"
    note: str = ""
    comparable: bool = True

    @property
    def ratio(self) -> float | None:
        """`now` divided by `then`; None where one is missing, is no number, or is zero."""
        values = (self.now, self.then.value if self.then else None)
        if not self.comparable or not all(isinstance(value, int | float) for value in values):
            return None
        now, then = (float(value) for value in values if isinstance(value, int | float))
        return now / then if then else None

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "", by the ratio and the direction that is better."""
        if self.ratio is None or self.better == "equal" or abs(self.ratio - 1) < 1e-9:
            return ""
        return "better" if (self.ratio < 1) == (self.better == "lower") else "worse"

    def to_dict(self) -> dict[str, Any]:
        """The fields, the ratio and the verdict, with values that JSON can represent."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


@dataclass(frozen=True)
class Figures:
    """Rows of a name, the value then, the value now, and the ratio."""

    kind: ClassVar[str] = "figures"
    rows: list[Figure]
    caption: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The rows and the caption, with values that JSON can represent."""
        return {"kind": self.kind, "caption": self.caption, "rows": [row.to_dict() for row in self.rows]}


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    kind: ClassVar[str] = "table"
    head: list[str]
    rows: list[list[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """An image as SVG, and the sentence that replaces it where no image can be shown."""

    kind: ClassVar[str] = "plot"
    svg: str
    caption: str


@dataclass(frozen=True)
class Code:
    """A Python session as text: prompts, code, and its output."""

    kind: ClassVar[str] = "code"
    session: str


@dataclass(frozen=True)
class Sample:
    """Generated text."""

    kind: ClassVar[str] = "sample"
    prompt: str
    text: str
    note: str = ""


Part: TypeAlias = Text | Figures | Table | Plot | Code | Sample


@dataclass
class Section:
    """A section of the write-up.

    Attributes:
        name: The name of the problem in the assignment.
        title: The heading.
        parts: The content in order.
    """

    name: str
    title: str
    parts: list[Part] = field(default_factory=list)

    def add(self, *parts: Part) -> None:
        """Appends parts."""
        self.parts += parts


@dataclass
class Report:
    """A report.

    Attributes:
        first: The first lines of the report, which name the texts that were used.
        machine: Facts about the machine by name.
        sections: The sections in order.
    """

    first: list[str]
    machine: dict[str, str]
    sections: list[Section] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the plots, with values that JSON can represent."""
        sections = []
        for section in self.sections:
            parts = [
                part.to_dict() if isinstance(part, Figures) else {"kind": part.kind, **asdict(part)}
                for part in section.parts
                if not isinstance(part, Plot)
            ]
            sections.append({"name": section.name, "title": section.title, "parts": parts})
        return {"first": self.first, "machine": self.machine, "sections": sections}
