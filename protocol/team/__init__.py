"""Several people behind one key: who they are, what each may take, and what each has taken.

    money        nano-dollars: budgets, prices, what a usage costs
    own_models   the list of models, as a key sees it
    keys_file    the text of a keys.ini: keys by their hashes, teams, prices, and what is wrong in it
    key_command  the command `key`: a new key, a table of those there are, whose a key is
    held_file    a file that one process has, and no other
    settings     section [limits]
    asking       what a request asks for, as far as it is counted
    callers      who asks, and what of that may take how much
    terms        on which terms he has a model
    admission    whether a request may come in, and how it is refused
    charge       what one request costs, from its admission to its end
    usage_event  the usage of streams whose clients did not ask for it
    draining     answers that go on although their clients have left
    own_use      what a caller is told of his own limits and use
    gateway      the application that asks all of these, before the gate
    team         all of it, put together
    stores/      where it is kept what was taken
    ledger/        what each call took, in an SQLite file
    usage_command  the command `usage`: what the ledger, or logs, add up to

A start that has no keys file, no limits and no ledger imports nothing of it.
"""
