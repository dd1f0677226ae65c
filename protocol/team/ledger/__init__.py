"""The ledger: what was asked, by whom, and what it took, in an SQLite file.

    settings   section [ledger]
    place      what is wrong with the place of the file
    entry      one call, as a line of JSON
    spool      the lines of one serving process, in files beside the ledger
    sums       calls, added up
    schema     the tables
    writer     the one process that writes them
    process    that process, as its parent sees it
    query      what the ledger, or a log, tells of what was used

Theory of operation
-------------------
Those who answer never wait for a database. Each serving process appends a line for each call to a spool of its own
beside the ledger, before the end of the answer leaves: one write(2), after which the line is the kernel's, and no
SIGKILL takes it away. A loss of power may.

One child process, the writer, reads the spools and writes the database: rows, sums by day, and how far it has read, all
in one transaction. So each line counts exactly once, whichever process dies when. A spool is a row of files; a serving
process holds a lock on its last one. A file that nobody holds is complete: it is read to its end, half a line there is
passed over, and it goes. A process without files has gone: what it began and did not end is lost.

What fails in the writer (a database that is locked, a full disk) leaves the spools as they are, and is tried again.
What fails in the spool waits in bounded memory, and is counted as lost beyond that.
"""
