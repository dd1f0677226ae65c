"""Cassettes: what an upstream answered, on disk, and given again without it.

Theory of operation. A cassette is a file of JSON lines that a person can read in a diff. The first line says what it
is; each other one is a recording: the request's key, what was asked, and the answer, with the times and the borders of
its pieces. `deck` is a backend before a relay: it answers from the cassette (replay), asks the relay for what is not on
it (fill), or asks it always (record). Recordings of one key are given first in, first out, each session of the
instrument beginning at the first.

Nothing secret gets onto a disk: of a head only what stands on a list is kept, of JSON no member that is named as a
secret is, and both before the key is made. What would differ from one run to the next all the same, such as ids and
dates, says nothing in the key.

    asking      what was asked: the key of a request, and how a recording shows it
    recording   a recording as a line of the file, and its pieces
    tape        the file: recordings by key
    nearest     what a request that was never recorded differs in from the nearest one that was
    deck        the backend
    har         recordings out of a browser's HAR file
    check       the command that holds a cassette against the living API
"""
