"""A small SVG writer for charts: the same numbers give the same bytes, on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 48, 52
INK, QUIET, GRID = "#1f2933", "#52606d", "#d9e0e6"
BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#b3541e", "#2f7d4f", "#7b8794"


@dataclass
class Chart:
    """One chart with linear axes. `x` and `y` are (from, to) in the data's units."""

    title: str
    description: str
    x: tuple[float, float]
    y: tuple[float, float]
    _parts: list[str] = field(default_factory=list)

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_label: str,
        y_label: str,
        x_text: Callable[[float], str] = "{:g}".format,
        y_text: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Grid lines, their numbers and the names of both axes."""
        for tick in y_ticks:
            y = self._y(tick)
            self._line(LEFT, y, WIDTH - RIGHT, y, GRID)
            self._text(LEFT - 8, y + 4, y_text(tick), anchor="end", colour=QUIET)
        for tick in x_ticks:
            self._text(self._x(tick), HEIGHT - BOTTOM + 18, x_text(tick), anchor="middle", colour=QUIET)
        self._line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, QUIET)
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, anchor="middle", colour=QUIET)
        self._text(LEFT - 8, TOP - 12, y_label, anchor="start", colour=QUIET)

    def band(self, xs: Sequence[float], lower: Sequence[float], upper: Sequence[float], colour: str = BLUE) -> None:
        """The area between two lines."""
        points = [*zip(xs, upper, strict=True), *reversed(list(zip(xs, lower, strict=True)))]
        self._parts.append(f'<polygon points="{self._points(points)}" fill="{colour}" fill-opacity="0.18"/>')

    def line(self, xs: Sequence[float], ys: Sequence[float], colour: str = BLUE, *, dashed: bool = False) -> None:
        """A line through points."""
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        points = self._points(list(zip(xs, ys, strict=True)))
        self._parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')

    def dots(self, xs: Sequence[float], ys: Sequence[float], colour: str = BLUE) -> None:
        """A dot at each point."""
        for x, y in zip(xs, ys, strict=True):
            self._parts.append(f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="3.5" fill="{colour}"/>')

    def bar(self, centre: float, width: float, low: float, high: float, colour: str) -> None:
        """An upright bar from `low` to `high`."""
        left, right = self._x(centre - width / 2), self._x(centre + width / 2)
        top, bottom = self._y(max(low, high)), self._y(min(low, high))
        size = f'width="{right - left:.1f}" height="{bottom - top:.1f}"'
        self._parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{colour}"/>')

    def note(self, x: float, y: float, text: str, colour: str = INK, *, anchor: str = "start", up: float = 0) -> None:
        """Words beside a point, `up` pixels above it."""
        gap = {"start": 8, "end": -8}.get(anchor, 0)
        self._text(self._x(x) + gap, self._y(y) + 4 - up, text, anchor=anchor, colour=colour)

    def svg(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            ' role="img" aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="12">'
        )
        title = f'<text x="{LEFT - 8}" y="20" font-size="15" fill="{INK}">{escape(self.title)}</text>'
        return "\n".join(
            [
                head,
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="description">{escape(self.description)}</desc>',
                f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
                title,
                *self._parts,
                "</svg>\n",
            ]
        )

    def _x(self, value: float) -> float:
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)

    def _points(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)

    def _line(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        self._parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def _text(self, x: float, y: float, text: str, *, anchor: str, colour: str) -> None:
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
        )
