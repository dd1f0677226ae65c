"""Section [ledger] of the configuration."""

from __future__ import annotations

from protocol.config import Section, option, parse_choice, parse_integer, parse_switch, parse_text


class LedgerSettings(Section):
    """Section [ledger]."""

    file: str = option("", parse_text, "SQLite file in which each call is noted, on a local disk; empty: none")
    keep_days: int = option("90", parse_integer(0, 36500), "days that calls are kept; sums by day stay; 0: for ever")
    on_disconnect: str = option(
        "cancel",
        parse_choice("cancel", "finish"),
        "a client that leaves: cancel at the upstream, or finish to know the usage",
    )
    unpriced: str = option(
        "refuse", parse_choice("refuse", "allow"), "a model without a price, for a key with a budget: refuse or allow"
    )
    usage_chunk: bool = option(
        "yes", parse_switch, "yes: ask for the usage of streams whose clients did not, and keep it from them"
    )
