"""Whether a configuration can work, before anything of it does."""

from __future__ import annotations

import os
import stat
import typing

from protocol.config import Settings
from protocol.errors import ApiError, UsageError
from protocol.exchange import Answer, Request
from protocol.on_demand import load
from protocol.program.books import has_team, ledger_file, limits_file
from protocol.program.log_target import LogTarget
from protocol.program.making import key_holders_of, make_backends
from protocol.program.routed import named_script
from protocol.server.server import tls_context
from protocol.server.settings import ServerSettings
from protocol.service.log import Log


def checked(settings: Settings, instance: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the backends that hold a key, and what the owner should know besides; UsageError for what is wrong.

    A service would say so, too; but --check and the parent of workers make none.
    """
    mistakes: list[str] = []
    key_holders: tuple[str, ...] = ()
    remarks: list[str] = []

    def check_backends() -> None:
        nonlocal key_holders
        key_holders = key_holders_of(make_backends(settings, Log("off", _write_nothing), instance, _nobody_answers, {}))

    def check_script() -> None:
        script = named_script(settings)
        remarks.extend(() if script is None else script.warnings)

    checks: tuple[typing.Callable[[], object], ...] = (
        check_backends,
        check_script,
        lambda: check_workers(settings),
        lambda: _check_team(settings),
        lambda: tls_context(settings.server),
        lambda: _check_log_file(settings.server),
        lambda: remarks.extend(_check_ledger(settings)),
    )
    for check in checks:
        try:
            check()
        except UsageError as exc:
            mistakes.append(str(exc))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return key_holders, remarks


def check_workers(settings: Settings) -> None:
    """Raise UsageError for what several processes cannot do."""
    if settings.server.workers != 1 and settings.server.journal:
        raise UsageError("[server] journal = yes: each worker would keep a journal of its own; set workers = 1")


def _check_team(settings: Settings) -> None:
    """Raise UsageError for a keys file that cannot be read, and limits that cannot be kept: workers would end at it."""
    if has_team(settings):
        _, load_keys, _, check_store = load("team")
        keys = load_keys(settings.server.keys_file)
        check_store(keys, settings.single["limits"], limits_file(settings), workers=settings.server.workers)


def _check_log_file(settings: ServerSettings) -> None:
    """Raise UsageError for a log file that cannot be opened; one that is not there stays away."""
    path = os.path.realpath(settings.log_file)
    is_there = os.path.exists(path)
    if not settings.log_file or (is_there and stat.S_ISFIFO(os.stat(path).st_mode)):  # which waits for its reader
        return
    target = LogTarget(None)
    target.use(target.opened(settings))
    target.use(None)
    if not is_there and os.path.exists(path):
        os.unlink(path)


def _check_ledger(settings: Settings) -> list[str]:
    """Return what the owner of a ledger should know of its place; UsageError where there can be none."""
    file = ledger_file(settings)
    if not file:
        return []
    check_place, network_remark, read_mounts = load("ledger place")
    check_place(file)
    if os.path.exists(file):
        (check_ledger,) = load("ledger that is there")
        check_ledger(file)
    remark = network_remark(file, read_mounts())
    return [remark] if remark else []


def _nobody_answers(request: Request) -> Answer:
    raise ApiError(503, "Nobody answers yet.")


def _write_nothing(lines: str) -> None:
    """Stand for the output of a log that is off."""
