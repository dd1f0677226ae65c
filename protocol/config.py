"""Settings: one table of options a section, read from config.ini, `--set` and the environment.

A section is a class whose members are made with `option(default, parse, doc)`; the default is written as it would stand
in the file. Those options give the ini reader, `--set`, `--check`, the shipped config.ini and the README's
table. Only a value that says so is taken from the environment: `${NAME}`, `${NAME:-default}`; `$$` is a dollar.
"""

from __future__ import annotations

import re
import types
import typing

from protocol.errors import UsageError, evidence, without_secrets
from protocol.on_demand import load

_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(:-[^}]*)?\}|)")
_SIZE = re.compile(r"([0-9]{1,15})([kMG]?)")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_SECTION = re.compile(r"([a-z]+)(?: +([A-Za-z0-9_.-]+))?")
# Variables of the environment that set something, and those that others read (protocol/instrument/pytest_plugin.py).
_VARIABLES = "OAISERVE_"
_OTHER_VARIABLES = frozenset(("OAISERVE_URL", "OAISERVE_CONTROL_KEY"))
_SIZE_UNITS = {"": 1, "k": 1024, "M": 1024**2, "G": 1024**3}

AnySection = typing.TypeVar("AnySection", bound="Section")


# ---- values -----------------------------------------------------------------------------------------------------
# Each parser takes the text of a value and returns what it means; its ValueError says what was expected.


def parse_text(text: str) -> str:
    return text


def parse_size(text: str) -> int:
    """Return bytes: 65536, 64k, 10M, 1G (powers of 1024)."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError("expected a size in bytes, e.g. 65536, 64k, 10M or 1G")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_seconds(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("expected seconds, e.g. 30 or 0.05")
    return float(text)


def parse_factor(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError("expected a factor, e.g. 1, 0.5 or 100")
    return float(text)


def parse_integer(lowest: int, highest: int) -> typing.Callable[[str], int]:
    """Return a parser of whole numbers from `lowest` to `highest`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def parse_choice(*choices: str) -> typing.Callable[[str], str]:
    """Return a parser that takes one of `choices`."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected {' | '.join(choices)}")
        return text

    return parse


def parse_switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("expected yes | no")
    return text == "yes"


def parse_list(text: str) -> tuple[str, ...]:
    """Return the members of a list separated by commas, spaces or line ends."""
    return tuple(text.replace(",", " ").split())


# ---- sections ---------------------------------------------------------------------------------------------------


class Option(typing.NamedTuple):
    """One option of a section: its default as it would stand in the file, its parser, one line of help."""

    default: str
    parse: typing.Callable[[str], typing.Any]
    doc: str
    secret: bool


def option(default: str, parse: typing.Callable[[str], typing.Any], doc: str, *, secret: bool = False) -> typing.Any:
    """Declare an option as a member of a section; its type there is that of the parsed value."""
    return Option(default, parse, doc, secret)


class Section:
    """The values of one section, which never change. A section is a class of its own, and its options are its members.

    It is no dataclass: to generate the code of one takes 2 ms a section (CPython 3.11), at every start.
    """

    def __init__(self, **values: typing.Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> typing.NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change: {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    @classmethod
    def completed(cls, values: dict[str, typing.Any], environ: typing.Mapping[str, str]) -> dict[str, typing.Any]:
        """Return the values with what follows from several of them together, or from the environment; ValueError."""
        return values

    def remark(self) -> str:
        """Return what `--check` says of the section beside its values, "" for nothing."""
        return ""

    __hash__ = None  # type: ignore[assignment]  # as of anything that is equal by its values and not meant as a key


def options_of(section: type[Section]) -> dict[str, Option]:
    """Return a section's options by name, in the order in which the class has them."""
    return {name: member for name, member in vars(section).items() if isinstance(member, Option)}


class Route(typing.NamedTuple):
    """Requests for a model that fits `pattern` (`*` and `?`) go to the first backend, and to the next if it fails."""

    pattern: str
    backends: tuple[str, ...]


class BackendSettings(typing.NamedTuple):
    """One configured backend: its name in routes, its kind, and its section's values."""

    name: str
    kind: str
    options: typing.Any


class Settings(typing.NamedTuple):
    """The effective configuration. `parts` are the sections that backends refer to by name, such as [pace NAME]."""

    server: typing.Any
    backends: tuple[BackendSettings, ...]
    routes: tuple[Route, ...]
    parts: tuple[BackendSettings, ...] = ()
    #: Faults (protocol/instrument/faults/language.py) by the pattern of the model.
    faults: tuple[tuple[str, str], ...] = ()
    #: The values of sections that stand once, as [server] does, by name.
    single: typing.Mapping[str, typing.Any] = types.MappingProxyType({})

    def part(self, kind: str, name: str) -> typing.Any:
        """Return the values of [KIND NAME]; UsageError where there is no such section."""
        there = {part.name: part.options for part in self.parts if part.kind == kind}
        if name in there:
            return there[name]
        shown = without_secrets(name)
        known = f"there are {', '.join(f'[{kind} {known}]' for known in there)}" if there else "there is none"
        raise UsageError(f"{kind} = {shown!r}: there is no section [{kind} {shown}]; {known}")


class Configuration:
    """Gathers texts from their sources, later ones over earlier ones, and turns them into Settings.

    `server` is the class of [server], `kinds` maps the kinds of backends to theirs, `parts` those of sections that
    backends can refer to by name, `single` those that stand once. `check_fault` reads a fault and raises ValueError
    where it is none. Mistakes are kept until `settings`, which tells all of them at once: a UsageError, a line each.
    """

    def __init__(
        self,
        server: type[Section],
        kinds: typing.Mapping[str, type[Section]],
        parts: typing.Mapping[str, type[Section]] | None = None,
        check_fault: typing.Callable[[str], object] = parse_text,
        single: typing.Mapping[str, type[Section]] | None = None,
    ) -> None:
        self._server = server
        self._single = single or {}
        self._check_fault = check_fault
        self._kinds = kinds
        self._parts = parts or {}
        # (section, key) -> (text, where it stands); a section is "server", "relay" or "relay NAME"
        self._values: dict[tuple[str, str], tuple[str, str]] = {}
        self._sections: list[str] = ["server", *self._single, *kinds]
        self._routes: list[tuple[str, str, str]] = []
        self._faults: dict[str, tuple[str, str]] = {}
        self._mistakes: list[str] = []
        self._unknown: set[str] = set()

    def read_file(self, path: str) -> None:
        """Take what an ini file says; UsageError when it cannot be read."""
        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
            raise UsageError(f"{path}: cannot be read: {reason}") from exc
        self.read_text(text, path)

    def read_text(self, text: str, path: str) -> None:
        """Take what the text of an ini file says; `path` names it in messages."""
        (read_entries,) = load("config file")
        entries, mistakes = read_entries(text)
        self._mistakes += [f"{path} {mistake}" for _, mistake in mistakes]
        for line, section, key, value in entries:
            where = f"{path} line {line} [{without_secrets(section)}]"
            if key:
                self.set(section, key, value, f"{where} {without_secrets(key)}")
            else:
                self._begin(section, where)

    def _begin(self, section: str, where: str) -> None:
        """Take a section, perhaps one without a key."""
        if section in ("routes", "faults") or section in self._sections or section in self._unknown:
            return
        try:
            self._section_class(section, where)
        except UsageError as exc:
            self._mistakes.append(str(exc))
            self._unknown.add(section)
        else:
            self._sections.append(section)

    def read_environment(self, environ: typing.Mapping[str, str]) -> None:
        """Take what variables called OAISERVE_SECTION_KEY or OAISERVE_SECTION_NAME_KEY say.

        A name in them is that of a section that is there already, or it is in lower case.
        """
        for variable in sorted(environ):
            if not variable.startswith(_VARIABLES) or variable in _OTHER_VARIABLES:
                continue
            found = self._variable(variable[len(_VARIABLES) :].lower())
            if found is None:
                known = (f"{_VARIABLES}{section}_{key}".upper() for section, key in self._single_keys())
                self._mistakes.append(
                    f"the environment's {without_secrets(variable)} stands for no key; expected "
                    f"{_VARIABLES}SECTION_KEY, e.g. {_VARIABLES}SERVER_PORT{_meant(variable, known)}"
                )
            else:
                self.set(*found, environ[variable], f"the environment's {variable}")

    def _single_keys(self) -> typing.Iterator[tuple[str, str]]:
        for section, cls in {"server": self._server, **self._single, **self._kinds}.items():
            for key in options_of(cls):
                yield section, key

    def _variable(self, name: str) -> tuple[str, str] | None:
        """Return the section and the key that the rest of a variable's name, in lower case, stands for."""
        for section, key in self._single_keys():
            if name == f"{section}_{key}":
                return section, key
        for kind, cls in {**self._kinds, **self._parts}.items():
            # The longest key counts: retry_timeout before timeout.
            for key in sorted(options_of(cls), key=len, reverse=True):
                if name.startswith(f"{kind}_") and name.endswith(f"_{key}"):
                    part = name[len(kind) + 1 : -len(key) - 1]
                    known = [section for section in self._sections if _as_variable(section) == f"{kind}_{part}"]
                    if part:
                        return known[0] if known else f"{kind} {part}", key
        return None

    def set(self, section: str, key: str, text: str, where: str) -> None:
        """Set one key; `where` names its source in messages."""
        try:
            self._set(section, key, text, where)
        except UsageError as exc:
            self._mistakes.append(str(exc))

    def _set(self, section: str, key: str, text: str, where: str) -> None:
        if section == "routes":
            # A later source's line for the same pattern takes its place; new lines come before an earlier `*`.
            self._routes = [route for route in self._routes if route[0] != key]
            self._routes.append((key, text, where))
            return
        if section == "faults":
            self._faults[key] = (text, where)
            return
        self._begin(section, where)
        if section not in self._sections:
            return
        names = options_of(self._section_class(section, where))
        if key not in names:
            raise UsageError(
                f"{where}: there is no key {evidence(key)} in [{section}]{_meant(key, names)}; it has "
                f"{', '.join(names)}"
            )
        self._values[section, key] = (text.strip(), where)

    def set_option(self, assignment: str) -> None:
        """Take SECTION.KEY=VALUE from the command line; SECTION.NAME.KEY for a named backend."""
        name, equals, value = assignment.partition("=")
        section, dot, key = name.strip().rpartition(".")
        for free in ("routes", "faults"):  # whose keys are patterns, with dots
            if name.strip().startswith(f"{free}."):
                section, dot, key = free, ".", name.strip()[len(free) + 1 :]
        if not equals or not dot or not section or not key:
            self._mistakes.append(
                f"--set {_named_only(assignment)}: expected SECTION.KEY=VALUE, e.g. --set mock.delay=0.05"
            )
            return
        kind, dot, backend = section.partition(".")
        self.set(f"{kind} {backend}" if dot else section, key, value, f"--set {without_secrets(name.strip())}")

    def settings(self, backend: str | None, environ: typing.Mapping[str, str]) -> Settings:
        """Return the effective settings; `backend`, when given, takes what no route but `*` names.

        UsageError with all mistakes, a line each. What only a backend says that no route names is none.
        """
        mistakes = list(self._mistakes)
        names = [_backend_name(section)[0] for section in self._sections if _kind_of(section) in self._kinds]
        mistakes += [
            f"two backends are called {name!r}; a backend's name is the second word of its section"
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
        routes = self._route_table(backend, names, environ, mistakes)
        routed = {name for route in routes for name in route.backends}
        backends: list[BackendSettings] = []
        parts: list[BackendSettings] = []
        for section in self._sections:
            name, kind = _backend_name(section)
            if kind not in self._kinds and kind not in self._parts:
                continue
            is_used = kind in self._parts or name in routed
            found = self._section(self._section_class(section, section), section, environ, mistakes if is_used else [])
            if found is not None:
                (backends if kind in self._kinds else parts).append(BackendSettings(name, kind, found))
        server = self._section(self._server, "server", environ, mistakes)
        single = {name: self._section(cls, name, environ, mistakes) for name, cls in self._single.items()}
        faults = self._fault_table(environ, mistakes)
        if mistakes:
            raise UsageError("\n".join(mistakes))
        return Settings(server, tuple(backends), routes, tuple(parts), faults, single)

    def section(self, name: str, environ: typing.Mapping[str, str]) -> typing.Any:
        """Return the values of one section that stands once; what the others say may be wrong. UsageError."""
        mistakes: list[str] = []
        cls = self._server if name == "server" else self._single[name]
        found = self._section(cls, name, environ, mistakes)
        if mistakes:
            raise UsageError("\n".join(mistakes))
        return found

    def _section_class(self, section: str, where: str) -> type[Section]:
        match = _SECTION.fullmatch(section)
        kind = match[1] if match else section
        if kind == "server" and match and not match[2]:
            return self._server
        if match and kind in self._single and not match[2]:
            return self._single[kind]
        if match and kind in self._kinds:
            return self._kinds[kind]
        if match and match[2] and kind in self._parts:
            return self._parts[kind]
        parts = [f"{part} NAME" for part in self._parts]
        known = ", ".join(["server", *self._single, *self._kinds, *parts, "routes", "faults"])
        meant = _meant(section, known.split(", "))
        raise UsageError(
            f"{where}: there is no section [{without_secrets(section)}]{meant}; there are {known} and [KIND NAME] for "
            "more backends"
        )

    def _section(
        self, cls: type[AnySection], section: str, environ: typing.Mapping[str, str], mistakes: list[str]
    ) -> AnySection | None:
        """Return a section's values; None where one is wrong, which `mistakes` then tells."""
        values = {}
        wrong = []
        for key, option in options_of(cls).items():
            text, where = self._values.get((section, key), (option.default, f"[{section}] {key}"))
            try:
                expanded = expand(text, environ, where)
            except UsageError as exc:
                wrong.append(str(exc))
                continue
            try:
                values[key] = option.parse(expanded)
            except ValueError as exc:
                named = "".join(f" (of {match[0]})" for match in _REFERENCE.finditer(text) if match[1])
                came = "(hidden)" if option.secret else evidence(expanded, 200)
                wrong.append(f"{where} = {came}{without_secrets(named)}: {without_secrets(str(exc))}")
        if not wrong:
            try:
                return cls(**cls.completed(values, environ))
            except ValueError as exc:
                wrong.append(f"[{section}] {exc}")
        mistakes += wrong
        return None

    def _route_table(
        self,
        backend: str | None,
        names: typing.Sequence[str],
        environ: typing.Mapping[str, str],
        mistakes: list[str],
    ) -> tuple[Route, ...]:
        routes = []
        for pattern, text, where in self._routes:
            try:
                wanted = parse_list(expand(text, environ, where))
            except UsageError as exc:
                mistakes.append(str(exc))
                continue
            unknown = [name for name in wanted if name not in names]
            if unknown or not wanted:
                came = evidence(unknown[0]) if unknown else "nothing"
                meant = _meant(unknown[0], names) if unknown else ""
                mistakes.append(f"{where} = {came}: expected names of backends, of {', '.join(names)}{meant}")
                continue
            routes.append(Route(pattern, wanted))
        if backend is not None:
            if backend not in names:
                mistakes.append(f"there is no backend {backend!r}; there are {', '.join(names)}")
            routes = [route for route in routes if route.pattern != "*"] + [Route("*", (backend,))]
        elif not self._routes:
            routes.append(Route("*", ("mock",)))
        # Whichever source it came from, `*` takes what nothing else takes.
        return tuple(sorted(routes, key=lambda route: route.pattern == "*"))

    def _fault_table(self, environ: typing.Mapping[str, str], mistakes: list[str]) -> tuple[tuple[str, str], ...]:
        faults = []
        for pattern, (text, where) in self._faults.items():
            try:
                fault = expand(text, environ, where)
                self._check_fault(fault)
            except UsageError as exc:
                mistakes.append(str(exc))
            except ValueError as exc:
                mistakes.append(f"{where}: {exc}")
            else:
                faults.append((pattern, fault))
        return tuple(faults)


def expand(text: str, environ: typing.Mapping[str, str], where: str) -> str:
    """Put in what `${NAME}`, `${NAME:-default}` and `$$` stand for; UsageError for a variable that is not set."""

    def value(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$$":
            return "$"
        if name is None:
            raise UsageError(f"{where}: a lone $ is not understood; write $$ for a dollar, ${{NAME}} for a variable")
        if environ.get(name):
            return environ[name]
        if default is None:
            raise UsageError(
                f"{where}: the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            )
        return default[2:]

    return _REFERENCE.sub(value, text)


def describe(settings: Settings) -> str:
    """Return the effective settings as an ini file, secrets masked; what `--check` prints."""
    lines = ["[server]", *_described(settings.server), ""]
    for name, section in settings.single.items():
        lines += [f"[{name}]", *_described(section), ""]
    for backend in (*settings.backends, *settings.parts):
        title = backend.kind if backend.name == backend.kind else f"{backend.kind} {backend.name}"
        remark = backend.options.remark()
        lines += [f"[{title}]", *([f"; {remark}"] if remark else []), *_described(backend.options), ""]
    lines += ["[routes]", *(f"{route.pattern} = {', '.join(route.backends)}" for route in settings.routes)]
    if settings.faults:
        lines += ["", "[faults]", *(f"{pattern} = {_as_ini(fault)}" for pattern, fault in settings.faults)]
    return "\n".join(lines) + "\n"


def _described(section: Section) -> typing.Iterator[str]:
    for key, option in options_of(type(section)).items():
        value = getattr(section, key)
        if option.secret and value:
            value = "********"
        yield f"{key} = {_as_ini(value)}".rstrip()


def _as_ini(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "".join(f"\n    {key} = {text}" for key, text in value.items())
    if isinstance(value, tuple):
        return ", ".join(value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace("$", "$$").replace("\n", "\n    ")


def _named_only(assignment: str) -> str:
    """Return the name in an assignment that is none: what follows may be a key."""
    name, *rest = re.split(r"[\s:=]+", assignment.strip(), maxsplit=1)
    return without_secrets(name) + (" …" if any(rest) else "")


def _meant(word: str, known: typing.Iterable[str]) -> str:
    """Return the question whether the nearest known word was meant, "" where none is near."""
    (nearest,) = load("near word")
    near: str = nearest(word, known)
    return near


def _as_variable(section: str) -> str:
    """Return a section as the environment can name it."""
    return re.sub(r"[^a-z0-9]", "_", section.lower())


def _kind_of(section: str) -> str:
    return _backend_name(section)[1]


def _backend_name(section: str) -> tuple[str, str]:
    kind, _, name = section.partition(" ")
    return name.strip() or kind, kind
