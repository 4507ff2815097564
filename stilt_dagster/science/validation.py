"""What users write: YAML read as plain data, checked against models that explain themselves in one line."""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from stilt_dagster.science.errors import FormatError, UserError
from stilt_dagster.science.files.format_numbers import without_format

_MAX_BYTES = 64 * 2**20

#: Ids of scenes, and names of what the store keeps.
SCENE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def require_no_boolean(model: type[BaseModel], name: str, value: Any) -> Any:
    """Return what is given for a field of a model, unless it is true or false and the field takes numbers.

    YAML reads ``yes``, ``on`` and ``true`` as one boolean, and pydantic takes that for 1.
    """
    if _has_boolean(value) and _is_of_numbers(model.model_fields[name].annotation):
        raise ValueError(f"must be a number, not a yes or no (got {value!r:.80})")
    return value


def _has_boolean(value: Any) -> bool:
    """Return whether a value is true or false, or a list that holds one."""
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_has_boolean, value)))


def _is_of_numbers(annotation: Any) -> bool:
    """Return whether an annotation has numbers, alone or in lists, and no boolean."""
    kinds = set(_leaves(annotation))
    numbers = any(isinstance(kind, type) and issubclass(kind, (int, float)) for kind in kinds - {bool})
    return numbers and not kinds & {bool, Any}


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yield the types an annotation is made of; of literals theirs."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        yield from map(type, parts)
    elif get_origin(annotation) is Annotated:
        yield from _leaves(parts[0])
    elif parts:
        for part in parts:
            yield from _leaves(part)
    else:
        yield annotation


class Spec(BaseModel):
    """The base of what a YAML holds: unknown names are errors, and so are numbers that are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return require_no_boolean(cls, str(info.field_name), value)


#: What buckets are called, by scheme: as their providers say, so that no name changes which host is asked.
_BUCKETS = {
    "memory": re.compile(r"[a-z0-9-]{1,63}"),
    "gs": re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"),
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
    "az": re.compile(r"(?=.{3,63}$)[a-z0-9](?:-?[a-z0-9])*"),
}

#: Names of a query that grants what it signs, in lower case: AWS's, Google's, Azure's, and what others call theirs.
_GRANTS = re.compile(
    r"[?&;#](?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|sig"
    r"|(?:access_?|sas_?|auth_?)?token|api_?key|password|secret)=",
    re.IGNORECASE,
)

#: Bytes of an object's name at most, with every provider.
_LONGEST = 1024


class HoldsCredentials(ValueError):
    """A URL grants what it names to whoever reads it: it is not to be repeated."""


def check_url(url: str, *, signed: bool = False) -> None:
    """Refuse a URL that holds credentials, or that names a bucket or an object no provider has.

    Parameters
    ----------
    url : str
        A URL; a path is let pass.
    signed : bool, optional
        Let pass queries that sign it.

    Raises
    ------
    HoldsCredentials
        If it does.
    ValueError
        What else is wrong with it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return
    host, _, path = rest.partition("/")
    if "@" in host or (_GRANTS.search(rest) and not signed):
        raise HoldsCredentials("must not hold credentials: specs are read by many")
    if scheme not in _BUCKETS:
        return
    if not host:
        raise ValueError(f"names no bucket: write it as {scheme}://BUCKET/PREFIX")
    if not _BUCKETS[scheme].fullmatch(host) or ".." in host or re.fullmatch(r"[\d.]+", host):
        raise ValueError(f"names no bucket that there can be: {host!r:.80} is not a name the provider allows")
    parts = path.strip("/").split("/") if path.strip("/") else []
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable():
        raise ValueError("must name an object without '.', '..', '//' or control characters")
    if len(path.encode()) > _LONGEST:
        raise ValueError(f"is longer than the {_LONGEST} bytes that names of objects may have")


def _reachable(place: str, info: ValidationInfo) -> str:
    """Refuse what would have a pod ask servers of its own network, such as the one that hands out identities."""
    scheme, separator, _ = place.partition("://")
    check_url(place, signed=info.context is STORED)
    if scheme == "http" and separator and any(is_trusted(place) for is_trusted in _TRUSTING):
        return place
    if separator and scheme not in ("gs", "s3", "az", "https", "file"):
        raise ValueError(f"must be a path, or begin with gs://, s3://, az:// or https:// (got {place!r})")
    return place


#: Of a spec that is read back: it may name what specs were once allowed to.
STORED = object()

#: Tells whether an http:// URL's host is trusted; empty where nobody has said, and so none is.
_TRUSTING: list[Callable[[str], bool]] = []


def trust_hosts(is_trusted: Callable[[str], bool]) -> None:
    """Let specs name http:// places that *is_trusted* accepts; called where a process is put together.

    Parameters
    ----------
    is_trusted : callable
        Takes the URL; asked anew for each.
    """
    _TRUSTING[:] = [is_trusted]


def without_query(place: str) -> str:
    """Return a URL, or a text with URLs, without what may sign them: for pages that are passed on."""
    return re.sub(r"(\w+://[^\s?#]*)[?#]\S*", r"\1", place)


#: Where a file or directory is: a path, or a URL.
Place = Annotated[str, Field(max_length=2000), AfterValidator(_reachable)]

_HOURS = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0}


def _hours(value: Any) -> Any:
    """Return a time as hours, whether it is written as a number of them or as ``2 days``."""
    if isinstance(value, str):
        found = re.fullmatch(rf"\s*(\d{{1,6}}(?:\.\d{{1,6}})?)\s*({'|'.join(_HOURS)})s?\s*", value)
        if found is None:
            raise ValueError(f"must be hours, or a time such as '36 hours' or '2 days' (got {value!r})")
        return float(found[1]) * _HOURS[found[2]]
    if isinstance(value, bool):
        raise ValueError(f"must be hours, or a time such as '36 hours' or '2 days' (got {value!r})")
    return value


#: How long something takes, h: a number of hours, or a text such as ``2 days``; from five minutes to ten years.
Hours = Annotated[float, Field(ge=1 / 12, le=87_600), BeforeValidator(_hours)]


def _day(value: Any) -> dt.date:
    if isinstance(value, dt.date):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return dt.date.fromisoformat(value)
    raise ValueError(f"must be a day such as 2019-06-01 (got {value!r})")


#: A day, ``YYYY-MM-DD``; no number, which would be taken for seconds since 1970.
Day = Annotated[dt.date, BeforeValidator(_day)]

S = TypeVar("S", bound=BaseModel)


def digest(value: Any) -> str:
    """Return a hash of anything JSON can hold: the same for equal content, on any machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class _Loader(yaml.SafeLoader):
    """YAML as plain data: no aliases (they can multiply without end), no doubled names, times left as text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {name!r} is not a name")
            if name in seen:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {name} is given twice")
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_text(path: Path, error: Callable[[str], UserError]) -> str:
    """Return a YAML file's text; what is wrong with it is raised as *error* makes it."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise error(f"{path} is larger than {_MAX_BYTES >> 20} MiB: keep receptors in a CSV or Parquet file")
        return path.read_text()
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not a text file") from problem


def parse_yaml(
    text: str, where: str, what: str, error: Callable[[str], UserError], known_format: str = ""
) -> dict[str, Any]:
    """Return the mapping a YAML holds.

    Parameters
    ----------
    text : str
        The YAML.
    where : str
        What errors call it.
    what : str
        What it must hold, for the error if it does not.
    error : callable
        Makes the error of a message.
    known_format : str
        The format it may say it has, which is left out of what is returned.
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as problem:  # the last: numbers and dates that are none
        raise error(f"{where} is not valid YAML: {problem}") from problem
    if not isinstance(data, dict):
        raise error(f"{where} must hold {what}")
    try:
        return without_format(data, known_format, where) if known_format else data
    except FormatError as problem:
        raise error(str(problem)) from None


def validate(model: type[S], data: Any, where: str, error: Callable[[str], UserError], *, context: object = None) -> S:
    """Return *data* as a model; an error is one line naming *where*, each field in error, and what is allowed."""
    try:
        return model.model_validate(data, context=context)
    except ValidationError as problems:
        raise error(f"{where}: {_explain(model, problems)}") from None


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    """Return a validation error as one line: each field, what is wrong, and the name probably meant."""
    lines: list[str] = []
    for problem in error.errors():
        # Alternatives of a union are not names a user wrote.
        place = [str(p) for p in problem["loc"] if not re.match(r"(float|int|list\[|literal\[|constrained)", str(p))]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown name" + _suggestion(model, place)
        elif problem["type"] == "missing":
            message = "is missing"
        elif isinstance(problem.get("ctx", {}).get("error"), HoldsCredentials):
            pass  # it would be in logs
        elif "got " not in message and not isinstance(problem["input"], (Mapping, list)):
            message += f" (got {problem['input']!r})"
        line = f"{'.'.join(place)}: {message}" if place else message
        if line not in lines:
            lines.append(line)
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more


def _suggestion(model: type[BaseModel], place: list[str]) -> str:
    """Return the names allowed where *place* is not one, closest first."""
    for name in place[:-1]:
        field = model.model_fields.get(name)
        model = next(_models(field.annotation), model) if field else model
    names = [field.alias or n for n, field in model.model_fields.items() if n not in ("exe_dir", "data_dir")]
    close = difflib.get_close_matches(place[-1], names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return (
        f"; allowed are {', '.join(names)}" if len(names) < 20 else "; it must be a STILT parameter by its STILT name"
    )


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models an annotation holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
