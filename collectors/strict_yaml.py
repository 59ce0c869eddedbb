"""YAML read strictly: unknown keys refused, every error with file, line, key, value and what is permitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from collectors.causes import cause_of

Model = TypeVar("Model", bound=BaseModel)
_SHOWN_CHARACTERS = 80
# the parser in C where PyYAML has it: a Pi reads the whole catalogue in a fifth of the time
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictModel(BaseModel):
    """A frozen configuration model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(NamedTuple):
    """One thing wrong in a file, in words for a person at the cabinet."""

    file: str
    line: int
    key: str
    value: str
    zh: str
    en: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key} = {self.value}\n  {self.zh}\n  {self.en}"


class FileError(Exception):
    """A file that cannot be used, with all its problems at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Located(NamedTuple):
    """A document with the line of every key: `lines[("devices", 0, "id")]`."""

    file: str
    data: Any
    lines: dict[tuple[str | int, ...], int]

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """Line of the key, or of the nearest parent that the file holds."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 1


def read(path: Path) -> Located:
    """Parse one YAML file. Raises FileError where it is missing, not YAML, or repeats a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(
            [
                Problem(
                    str(path),
                    0,
                    "-",
                    "-",
                    f"无法读取文件：{cause_of(error).zh}。请检查路径和权限。",
                    f"cannot read the file: {cause_of(error).en}. Check path and permissions.",
                )
            ]
        ) from error
    except UnicodeDecodeError as error:
        raise FileError(
            [
                Problem(
                    str(path),
                    0,
                    "-",
                    "-",
                    "文件不是 UTF-8 编码。请另存为 UTF-8。",
                    "the file is not UTF-8. Save it as UTF-8.",
                )
            ]
        ) from error
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise FileError(
            [
                Problem(
                    str(path),
                    line,
                    "-",
                    "-",
                    f"不是有效的 YAML（{error.problem}）。请检查缩进与冒号。",
                    f"not valid YAML ({error.problem}). Check indentation and colons.",
                )
            ]
        ) from error
    except yaml.YAMLError as error:
        raise FileError(
            [Problem(str(path), 0, "-", "-", f"不是有效的 YAML：{error}", f"not valid YAML: {error}")]
        ) from error
    lines: dict[tuple[str | int, ...], int] = {}
    problems: list[Problem] = []
    if node is not None:
        _walk(node, (), lines, problems, str(path))
    if problems:
        raise FileError(problems)
    return Located(str(path), yaml.load(text, Loader=_Loader), lines)  # noqa: S506 (a safe loader)


def _walk(
    node: yaml.Node,
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    problems: list[Problem],
    file: str,
) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in seen:
                problems.append(
                    Problem(
                        file,
                        line,
                        _dotted((*path, key)),
                        "-",
                        "同一个键出现了两次，请删除一个。",
                        "the key stands twice; remove one.",
                    )
                )
            seen.add(key)
            lines[(*path, key)] = line
            _walk(value_node, (*path, key), lines, problems, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), lines, problems, file)


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "-"


def problem_at(located: Located, path: tuple[str | int, ...], value: str, zh: str, en: str) -> Problem:
    """A problem with the value found at `path`."""
    return Problem(located.file, located.line_of(path), _dotted(path), value, zh, en)


def shown(value: Any) -> str:
    """A value as it may be shown to a person: short, on one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def check(located: Located, model: type[Model], data: Any = None, prefix: tuple[str | int, ...] = ()) -> Model:
    """Validate a document, or a part of it found under `prefix`, against a model.

    Raises FileError with one Problem for each fault.
    """
    subject = located.data if data is None else data
    try:
        return model.model_validate(subject)
    except ValidationError as error:
        problems = []
        for fault in error.errors():
            path = (*prefix, *(p for p in fault["loc"] if not (isinstance(p, str) and p.startswith("function-"))))
            zh, en = _words(fault, model)
            problems.append(problem_at(located, path, shown(fault["input"]), zh, en))
        raise FileError(problems) from error


def _words(fault: Any, model: type[BaseModel]) -> tuple[str, str]:
    kind, context, message = fault["type"], fault.get("ctx", {}), fault["msg"]
    if kind == "extra_forbidden":
        permitted = ", ".join(sorted(model.model_fields)) if len(fault["loc"]) == 1 else ""
        hint_zh = f"可用的键：{permitted}。" if permitted else "请检查拼写或删除它。"
        hint_en = f"permitted: {permitted}." if permitted else "check the spelling or remove it."
        return f"不认识的键。{hint_zh}", f"unknown key; {hint_en}"
    if kind == "missing":
        return "缺少必填的键，请补上。", "this key is required; add it."
    if kind in ("literal_error", "enum"):
        return f"只能是：{context.get('expected')}。", f"must be one of: {context.get('expected')}."
    if kind == "value_error" and "error" in context and len(getattr(context["error"], "args", ())) == 2:
        zh, en = context["error"].args
        return zh, en
    limits = {"greater_than": "大于", "greater_than_equal": "不小于", "less_than": "小于", "less_than_equal": "不大于"}
    if kind in limits:
        limit = context.get("gt", context.get("ge", context.get("lt", context.get("le"))))
        return f"必须{limits[kind]} {limit}。", f"{message}."
    if kind == "too_short":
        least = context.get("min_length")
        return f"至少要有 {least} 项。", f"needs at least {least}."
    if kind.startswith("string_pattern"):
        return f"格式不符，应符合 {context.get('pattern')}。", f"{message}."
    return f"值不符合要求（{message}）。", f"{message}."
