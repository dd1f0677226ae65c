"""Several people behind one key: who they are, what each may take, and what each has taken.

    money        nano-dollars: budgets, prices, what a usage costs
    keys_file    the text of a keys.ini: keys by their hashes, teams, prices, and what is wrong in it
    key_command  the command `key`: a new key, a table of those there are, whose a key is
    held_file    a file that one process has, and no other
    stores/      where it is kept what was taken
    ledger/      what each call took, in an SQLite file

A start that has no keys file, no limits and no ledger imports nothing of it.
"""
