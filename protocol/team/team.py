"""The team of a service, put together: its keys, its limits, its ledger, and the gateway that asks them."""

from __future__ import annotations

import os
import typing

from protocol.errors import UsageError
from protocol.exchange import Backend, Endpoint, Request
from protocol.on_demand import load
from protocol.team.charge import Books, Ledger, Tally
from protocol.team.gateway import Gateway, Routes, Rules
from protocol.team.keys_file import KeysFile, read_keys_file
from protocol.team.money import Budget
from protocol.team.settings import LimitsSettings
from protocol.team.stores.choice import choose
from protocol.team.stores.store import Store


def load_keys(path: str) -> KeysFile | None:
    """Return what a keys file says, None where there is none; UsageError where it cannot be read or understood."""
    if not path:
        return None
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise UsageError(f"[server] keys_file = {path}: cannot be read: {reason}") from exc
    return read_keys_file(text, path)


def open_store(
    keys: KeysFile | None,
    limits: LimitsSettings,
    path: str,
    *,
    workers: int,
    clock: typing.Callable[[], float],
    say: typing.Callable[[str], object],
    call_soon: typing.Callable[[typing.Callable[[], object]], object] | None = None,
) -> Store:
    """Return where it is counted what is taken; UsageError where that cannot be.

    `path` is that of the file which `workers` share, and in which budgets outlast a restart. A process that is alone
    and has no budgets needs none. `call_soon` is given where the process has no other store of that file.
    """
    file = _needed_file(keys, limits, path, workers)
    try:
        return choose(clock, file, url=limits.store, when_down=limits.store_down, say=say, call_soon=call_soon)
    except OSError as exc:
        raise _no_file(path, exc) from exc


def check_store(keys: KeysFile | None, limits: LimitsSettings, path: str, *, workers: int) -> None:
    """Raise UsageError where there can be no store, as `open_store` does; nothing is made."""
    file = _needed_file(keys, limits, path, workers)
    if limits.store:
        _, read_address = load("limits in Redis")
        read_address(limits.store)
    elif file:
        (check_file,) = load("file of limits")
        try:
            check_file(file)
        except OSError as exc:
            raise _no_file(path, exc) from exc


def _no_file(path: str, exc: OSError) -> UsageError:
    return UsageError(f"[limits] file = {path}: cannot be had: {exc.strerror}")


def _needed_file(keys: KeysFile | None, limits: LimitsSettings, path: str, workers: int) -> str:
    """Return the path of the file that is needed, "" for none; UsageError where nobody has named it."""
    budgets: list[Budget | None] = []
    if keys is not None:
        budgets += [key.rates.budget for key in keys.keys.values()]
        budgets += [team.rates.budget for team in keys.teams.values()]
    is_shared = workers != 1 and bool(keys is not None or limits.per_address or limits.per_origin)
    needs_file = os.name == "posix" and not limits.store and (is_shared or any(budgets))
    if needs_file and not path:
        raise UsageError("[limits] file = nothing: workers share what is taken in a file; name one, on a local disk")
    return path if needs_file else ""


class Team:
    """What is kept of those who share a service, until `close`, and the gateways before it, one a configuration.

    `ledger` is None where no calls are noted. `clock` gives seconds since the epoch, `ticks` seconds for spans of time.
    """

    def __init__(
        self,
        store: Store,
        ledger: Ledger | None,
        tally: Tally,
        *,
        clock: typing.Callable[[], float],
        ticks: typing.Callable[[], float],
        finishes: bool,
    ) -> None:
        self._books = Books(store, ledger, clock, ticks, tally, finishes=finishes)

    def gateway(
        self,
        route: typing.Callable[[Request], Endpoint],
        routes: Routes,
        backends: typing.Iterable[Backend],
        keys: KeysFile | None,
        limits: LimitsSettings,
        *,
        adds_usage: bool,
        allows_unpriced: bool,
        max_body: int,
        ledger_file: str,
        shows_page: bool,
    ) -> Gateway:
        """Return a gateway (server.Application) around `route`."""
        rules = Rules(
            limits.per_address.windows(), limits.per_origin.windows(), adds_usage, allows_unpriced, shows_page
        )  # fmt: skip
        hides_keys = keys is not None and any(backend.origin and not backend.holds_key for backend in backends)
        return Gateway(
            route, routes, self._books, rules, keys, hides_keys=hides_keys, instance=os.urandom(8).hex(),
            max_body=max_body, ledger=ledger_file,
        )  # fmt: skip

    async def settled(self) -> None:
        """Wait for the end of what goes on now for nobody."""
        if self._books.drains is not None:
            await self._books.drains.settled()

    async def close(self) -> None:
        """End answers that go on for nobody, and let go of what is held."""
        if self._books.drains is not None:
            self._books.drains.close()
        await self._books.store.close()
