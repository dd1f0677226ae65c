"""The gateway: who asks, whether he may, and what it costs; everything else is as without it.

It stands before the gate. A head tells who asks, so that is worked out once a kind of head, as its endpoint is. What a
request takes is reserved before anybody is asked for the answer, all or nothing, and settled when it is over.
"""

from __future__ import annotations

import contextlib
import itertools
import typing

from protocol.errors import ApiError, without_keys
from protocol.exchange import (
    LONG_BODY,
    Answer,
    Backend,
    Endpoint,
    LateEndpoint,
    Request,
    Response,
    answer_in_turns,
    answer_of,
)
from protocol.limiter import Full, Window
from protocol.on_demand import load
from protocol.openai.asked_model import asked_model, begins_as, body_kind, head_model
from protocol.openai.chat_form import ChatForms
from protocol.service.doors import LIVE_PATH, wants_page
from protocol.service.own_machine import may_see
from protocol.team.admission import (
    Demand,
    crowded,
    expired,
    full,
    no_key,
    no_price,
    no_such_model,
    not_counted,
    unreadable,
)
from protocol.team.asking import SHORT_BODY, Asking, asking_of, estimate_prompt, most_tokens, tells_later
from protocol.team.callers import ANYBODY, Caller, Callers
from protocol.team.charge import Books, Charge
from protocol.team.keys_file import KeysFile
from protocol.team.ledger.entry import MOST_CHARACTERS
from protocol.team.money import Price, price_of
from protocol.team.own_models import lists_models, own_models
from protocol.team.stores.store import REQUESTS, Amounts, Crowded, Drawn, Place, Quota
from protocol.team.terms import NO_OTHERS, Length, Terms
from protocol.team.usage_event import asks_for_usage
from protocol.wire.json_text import JsonObject
from protocol.witness import passing

# What a request takes of which no tokens are counted.
_ITSELF: Amounts = (1, 0, 0)
# The chat door's, for a request that names none.
_DOOR_MODEL = "gpt-3.5-turbo"
# What of the service's own is for its owner: he has a key, or sits at the machine.
_OWN_USE = "/_oaiserve/me"
_OWN_PAGES = frozenset(("/", "/metrics", LIVE_PATH))
# Of so many kinds of requests the terms are remembered: 2,000 callers ask for a few models each.
_MOST_TERMS = 10_000
# Of so many of these each kind of head keeps its own at hand.
_FEW_TERMS = 4
# What addresses and origins demand is remembered for so many of the latest.
_MOST_DEMANDS = 1_000
# Names of members that servers in Go take for "model": in any case.
_OTHER_MODELS = frozenset(map("".join, itertools.product(*zip("model", "MODEL")))) - {"model"}


class Rules(typing.NamedTuple):
    """What holds for all: windows of each address and each page's origin, and what is done about usage and prices.

    `shows_page` says that the page for people is shown beyond this machine.
    """

    per_address: tuple[Window, ...] = ()
    per_origin: tuple[Window, ...] = ()
    adds_usage: bool = True
    allows_unpriced: bool = False
    shows_page: bool = False


class Routes(typing.Protocol):
    """What is asked of the router: who takes a model, and what it is called there."""

    def backends_for(self, model: str) -> tuple[Backend, ...]:
        """Return the backends of the first route that fits the model's name; ApiError 404."""


class Gateway:
    """The application that the server asks (server.Application), around `route`.

    `instance` tells apart whoever writes into one ledger. `keys` are None where nobody needs a key. `hides_keys` says
    that some backend would send its callers' keys on: those are ours, and nobody else's business. `max_body` bounds
    what an encoded body is decoded to, in bytes. `ledger` is the path of the one that callers may ask, "" for none.
    """

    def __init__(
        self,
        route: typing.Callable[[Request], Endpoint],
        routes: Routes,
        books: Books,
        rules: Rules,
        keys: KeysFile | None,
        *,
        hides_keys: bool,
        instance: str,
        max_body: int,
        ledger: str = "",
    ) -> None:
        self._ledger = ledger
        self._route = route
        self._routes = routes
        self._callers = None if keys is None else Callers(keys)
        self._prices: typing.Sequence[Price] = () if keys is None else keys.prices
        self._terms: dict[tuple[str, str, str], Terms] = {}
        self._demands: dict[tuple[str, bool, str, str], Demand | None] = {}
        #: Whether something is demanded whoever asks.
        self.limits_all = bool(rules.per_address or rules.per_origin)
        self._ids = itertools.count(1)
        self._instance = instance
        self.books = books
        self.rules = rules
        self.max_body = max_body
        self.hides_keys = hides_keys
        #: Reads chats, of which their messages are of no interest here.
        self.forms = ChatForms()

    def route(self, request: Request) -> Endpoint:
        """Choose the endpoint from the head; ApiError 404 or 405 where there is none."""
        if request.path == _OWN_USE and self._callers is not None and request.method in ("GET", "HEAD"):
            return Endpoint(self._tell_own_use, "own use")
        endpoint, error = _NOWHERE, None
        try:
            endpoint = self._route(request)
        except ApiError as exc:
            error = exc.anew()  # who has no key learns of no path whether it is there
        if request.method == "OPTIONS" and error is None:
            return endpoint
        is_tunnel = request.head.upgrade.lower() == "websocket"
        asking = asking_of(request.path, request.method, is_tunnel=is_tunnel)
        if asking is None and (error is not None or request.path not in _OWN_PAGES):
            if error is not None:
                raise error
            return endpoint
        caller = ANYBODY
        if self._callers is not None:
            found = self._callers.find(request.key)
            if found is None:
                refused = no_key(request.key)
                return _OwnPage(refused, endpoint, self.rules) if asking is None else _Refusing(refused, endpoint)
            caller = found
        if asking is None:
            return endpoint
        if (asking.hides == "all" and caller.is_measured) or (asking.hides and caller.is_charged):
            what = f"a WebSocket at {asking.path}" if is_tunnel else asking.path
            return _Refusing(not_counted(caller.name, what), endpoint)
        if error is not None:
            raise error
        return self._counted(endpoint, caller, asking, request)

    async def _tell_own_use(self, request: Request) -> Response:
        caller = None if self._callers is None else self._callers.find(request.key)
        if caller is None:
            raise no_key(request.key)
        now = self.books.clock()
        if caller.expires is not None and now >= caller.expires:
            raise expired(caller.name)
        (tell_own_use,) = load("own use")
        told: Response = await tell_own_use(caller, self.books.store, self._ledger, now)
        return told

    def _counted(self, endpoint: Endpoint, caller: Caller, asking: Asking, request: Request) -> Endpoint:
        is_tunnel = request.head.upgrade.lower() == "websocket"
        holds = asking.makes_tokens and not is_tunnel and (caller.is_measured or not _is_form(request))
        streams_body = endpoint.streams_body and not holds
        if isinstance(endpoint, LateEndpoint):
            late = endpoint

            async def find(request: Request) -> Endpoint:
                return self._counted(await late.find(request), caller, asking, request)

            return LateEndpoint(find, streams_body=late.streams_body)
        if caller.models and lists_models(asking.path):
            endpoint = own_models(endpoint, caller, asking.path)
        counted = _Counted(self, endpoint, caller, asking, request)
        return Endpoint(
            counted.answer, endpoint.label, streams_body=streams_body, errors=endpoint.errors,
            early_head=endpoint.early_head,
        )  # fmt: skip

    def demand(self, caller: Caller, *, makes_tokens: bool, peer: str = "", origin: str = "") -> Demand | None:
        """Return what a request demands of a caller, and of an address and a page's origin; None for nothing."""
        kind = caller.name, makes_tokens, peer, origin
        if kind not in self._demands:
            if len(self._demands) >= _MOST_DEMANDS:
                self._demands.clear()
            quotas = [quota for quota in caller.quotas if makes_tokens or quota.kind == REQUESTS]
            own = sum(quota.kind == REQUESTS for quota in quotas)
            subjects = [(f"address:{peer}:requests", self.rules.per_address)] if peer else []
            subjects += [(f"origin:{origin}:requests", self.rules.per_origin)] if origin else []
            quotas[own:own] = [Quota(who, window, REQUESTS) for who, windows in subjects for window in windows]
            is_any = quotas or caller.places
            self._demands[kind] = Demand(self.books.store, quotas, caller.places) if is_any else None
        return self._demands[kind]

    def demand_of(self, request: Request, caller: Caller, *, makes_tokens: bool) -> Demand | None:
        """Return what a request demands of a caller, its address and the origin of its page."""
        peer = request.peer if self.rules.per_address else ""
        origin = request.fields.get("origin")[:200] if self.rules.per_origin else ""
        return self.demand(caller, makes_tokens=makes_tokens, peer=peer, origin=origin)

    def new_id(self) -> str:
        """Return an id that no other call in any ledger has."""
        return f"{self._instance}-{next(self._ids)}"

    def terms(self, caller: Caller, endpoint: str, model: str, key: str) -> Terms:
        """Return on which terms a caller has a model, for which he has asked with `key`, at an endpoint."""
        kind = caller.name, endpoint, model
        known = self._terms.get(kind)
        # What a client writes there may be his key; the books do not have that.
        has_key = bool(key) and key in model
        if known is None or has_key:
            known = self._make_terms(caller, endpoint, model, key if has_key else "")
            if not has_key and len(model) <= MOST_CHARACTERS:
                if len(self._terms) >= _MOST_TERMS:
                    self._terms.clear()
                self._terms[kind] = known
        return known

    def _make_terms(self, caller: Caller, endpoint: str, model: str, key: str) -> Terms:
        """Return the terms of the backend that is asked first; its `others` are those of the next ones."""
        backends: typing.Sequence[Backend | None] = ()
        with contextlib.suppress(ApiError):  # the router will say so
            backends = self._routes.backends_for(model)
        first, *next_ones = backends or (None,)
        length = Length()
        others = {
            one.name: self._terms_at(one, caller, endpoint, model, key, length) for one in next_ones if one is not None
        }
        tells_usage = bool(backends) and all(one is not None and one.tells_usage for one in backends)
        return self._terms_at(first, caller, endpoint, model, key, length, others, tells_usage=tells_usage)

    def _terms_at(
        self,
        backend: Backend | None,
        caller: Caller,
        endpoint: str,
        model: str,
        key: str,
        length: Length,
        others: typing.Mapping[str, Terms] = NO_OTHERS,
        *,
        tells_usage: bool = False,
    ) -> Terms:
        asked = without_keys(model, key)[:MOST_CHARACTERS]
        name, owner, sent = "", "", model
        if backend is not None:
            name, sent = backend.name, backend.sent_model(model)
            owner = "owner" if backend.holds_key else "caller" if backend.origin else ""
        price = price_of(self._prices, sent) or price_of(self._prices, model)
        refusal = None
        if caller.models and not caller.may_ask_for(model):
            refusal = no_such_model(caller.name, model)
        elif caller.has_budget and price is None and not self.rules.allows_unpriced:
            refusal = no_price(caller.name, model)
        return Terms(
            caller, endpoint, self.demand(caller, makes_tokens=True), asked=asked,
            sent=asked if key else without_keys(sent, "")[:MOST_CHARACTERS], backend=name, upstream_key=owner,
            price=price, refusal=refusal, others=others, length=length, tells_usage=tells_usage,
        )  # fmt: skip


def _never_asked(request: Request) -> Answer:
    raise RuntimeError("an endpoint that is nowhere was asked to answer")


# Stands for the endpoint of a path that nobody answers.
_NOWHERE = Endpoint(_never_asked, "none")


class _Refusing(Endpoint):
    """Answers who has no key, or one that does not suffice."""

    __slots__ = ()

    def __init__(self, error: ApiError, endpoint: Endpoint) -> None:
        def answer(request: Request) -> Answer:
            raise error.anew()

        super().__init__(answer, endpoint.label, streams_body=True, errors=endpoint.errors)


class _OwnPage(Endpoint):
    """Answers who has no key and asks for what is the service's own: this machine's own programs may see it.

    The page itself is the same for everybody: it asks for a key, and shows nothing without one.
    """

    __slots__ = ()

    def __init__(self, error: ApiError, endpoint: Endpoint, rules: Rules) -> None:
        def answer(request: Request) -> Answer:
            is_page = request.path == "/" and wants_page(request)
            if may_see(request, from_anywhere=is_page and rules.shows_page):
                return endpoint.answer(request)
            raise error.anew()

        super().__init__(answer, endpoint.label, streams_body=True, errors=endpoint.errors)


class _Counted:
    """One kind of head: who asks what."""

    __slots__ = (
        "_asking", "_caller", "_endpoint", "_free_terms", "_gateway", "_is_plain_json", "_is_usual_chat", "_key",
        "_reckoned", "_terms",
    )  # fmt: skip

    def __init__(self, gateway: Gateway, endpoint: Endpoint, caller: Caller, asking: Asking, request: Request) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._caller = caller
        self._asking = asking
        self._key = request.key
        self._free_terms = Terms(caller, endpoint.label, gateway.demand(caller, makes_tokens=False))
        self._terms: dict[str, Terms] = {}  # by model
        # The latest chat of a form that is known, and what was found for it (_look).
        self._reckoned: tuple[object, Terms, int, bool] = (object(), self._free_terms, 0, False)
        fields = request.fields
        # Nothing stands between it and the backends of its model that could answer in their place.
        self._is_usual_chat = asking.path == "/chat/completions" and request.facts.session is None
        # Its model stands in its body, and nowhere else.
        self._is_plain_json = (
            fields.get("content-type") == "application/json"
            and "content-encoding" not in fields
            and not head_model(request)
        )

    def answer(self, request: Request) -> Answer:
        """Answer a request that may come in; ApiError 401, 403 or 429 for one that may not."""
        gateway, caller = self._gateway, self._caller
        books = gateway.books
        now = books.clock()
        if caller.expires is not None and now >= caller.expires:
            raise expired(caller.name)
        makes_tokens = self._asking.makes_tokens
        if makes_tokens:
            terms, amounts, silent_chat = self._reckon(request)
        else:
            terms, amounts, silent_chat = self._free_terms, _ITSELF, None
        demand = terms.demand
        if gateway.limits_all:
            demand = gateway.demand_of(request, caller, makes_tokens=makes_tokens)
        charge = Charge(books, terms, demand, amounts, gateway.new_id(), now, makes_tokens, silent_chat is not None)
        if silent_chat is not None and not (terms.tells_usage and self._is_usual_chat):
            charge.ask_usage(request, silent_chat)
        if demand is not None:
            try:
                taken = demand.account.take(amounts)
            except Crowded as exc:
                raise self._crowded(exc.place) from None
            except Full as exc:
                raise full(exc) from exc
            if not isinstance(taken, tuple):
                return self._answer_later(request, charge, taken)
            if not taken[0]:
                raise self._refused(charge, taken)
            charge.admit(taken)
        return self._begin(request, charge)

    def _reckon(self, request: Request) -> tuple[Terms, Amounts, JsonObject | None]:
        """Return on which terms an answer can be had, and about how much it takes.

        Last, what the request says (ChatForms), if it is for a stream that tells no usage unless it is asked to.
        ApiError 403 where there is no answer to be had on any terms.
        """
        caller = self._caller
        if self._is_plain_json and request.stream is None and request.body:
            forms = self._gateway.forms
            value = forms.read(request) if len(request.body) <= SHORT_BODY else request.json()
            if value is self._reckoned[0]:
                _, terms, answer, wants_usage = self._reckoned
            else:
                model = self._model_in(value, request)
                terms, answer, wants_usage = self._look(model, value)
                if value is forms.body and model in self._terms:
                    self._reckoned = value, terms, answer, wants_usage
        else:
            model, value = self._read(request)
            terms, answer, wants_usage = self._look(model, value)
        silent_chat = value if wants_usage else None
        if not caller.is_charged:
            return terms, _ITSELF, silent_chat
        prompt = estimate_prompt(request.body, value)
        return terms, terms.amounts(prompt, answer or terms.length.usual()), silent_chat

    def _look(self, model: str, value: typing.Any) -> tuple[Terms, int, bool]:
        """Return the terms, how long an answer may be (0 for any length), and whether its usage is to be asked for."""
        caller, asking = self._caller, self._asking
        terms = self._terms.get(model) or self._find_terms(model)
        if terms.refusal is not None:
            raise terms.refusal.anew()
        wants_usage = False
        if type(value) is dict:
            if caller.is_measured and not _OTHER_MODELS.isdisjoint(value):
                raise unreadable(caller.name)  # servers in Go take each for the model
            if asking.is_silent and value.get("stream") and self._gateway.rules.adds_usage:
                wants_usage = not asks_for_usage(value)
        if caller.is_charged and tells_later(asking.path, value):
            raise not_counted(caller.name, f"{asking.path}, which answers before its work is done,")
        return terms, most_tokens(value), wants_usage

    def _find_terms(self, model: str) -> Terms:
        terms = self._gateway.terms(self._caller, self._endpoint.label, model, self._key)
        if (
            len(self._terms) < _FEW_TERMS
            and len(model) <= MOST_CHARACTERS
            and (not self._key or self._key not in model)
        ):
            self._terms[model] = terms
        return terms

    def _read(self, request: Request) -> tuple[str, typing.Any]:
        """Return a request's model, and its JSON if it has any that has been read, where it may be no plain JSON."""
        if request.stream is not None or not request.body:
            return head_model(request), None
        value = None
        model = asked_model(request, self._gateway.max_body)
        kind = body_kind(request.fields)
        is_counted = self._caller.is_charged and kind != "form"
        if "content-encoding" in request.fields:
            if is_counted:
                raise unreadable(self._caller.name)
        elif kind == "json" or (is_counted and begins_as(request.body) == "object"):
            value = request.json()
        return model or self._model_in({}, request), value

    def _model_in(self, value: typing.Any, request: Request) -> str:
        """Return the model that plain JSON names, or the door's where it names none there."""
        model = value.get("model") if type(value) is dict else ""
        if (not model or type(model) is not str) and self._asking.path == "/chat/completions" and request.path == "/":
            return _DOOR_MODEL
        return model if type(model) is str else ""

    def _refused(self, charge: Charge, taken: Drawn) -> ApiError:
        books = self._gateway.books
        error = charge.refusal(taken, books.clock())
        books.tally.limit_hit(self._caller.name, "budget" if error.code == "insufficient_quota" else error.type)
        return error

    def _crowded(self, place: Place) -> ApiError:
        self._gateway.books.tally.limit_hit(self._caller.name, "at_once")
        return crowded(place)

    def _begin(self, request: Request, charge: Charge) -> Answer:
        """Ask for the answer, now that it is paid for."""
        endpoint = self._endpoint
        request.charge = charge
        if self._gateway.hides_keys:
            request.keep_key_for("")
        if endpoint.streams_body and request.stream is None:
            answer = answer_of(endpoint, request)
        else:
            answer = endpoint.answer(request)
        if isinstance(answer, Response):
            return charge.passing(answer)
        charge.open()
        return passing(answer, charge.passing)

    async def _answer_later(self, request: Request, charge: Charge, taking: typing.Awaitable[Drawn]) -> Response:
        """Do what is left of `answer` with a store that has to be waited for."""
        try:
            taken = await taking
        except Crowded as exc:
            raise self._crowded(exc.place) from None
        except Full as exc:
            raise full(exc) from exc
        if not taken[0]:
            raise self._refused(charge, taken)
        charge.admit(taken)
        if len(request.body) > LONG_BODY:
            return await answer_in_turns(lambda: self._begin(request, charge))
        begun = self._begin(request, charge)
        return begun if isinstance(begun, Response) else await begun


def _is_form(request: Request) -> bool:
    return request.fields.get("content-type").lower().startswith("multipart/")
