"""The instrument: what a tester switches on, to see what his program does when the model misbehaves.

Theory of operation. While nothing is switched on, the router answers as ever and nothing here is loaded (gate.py).
Once something is, each request is routed through `layer`: it belongs to a session, gets a Take that says what is known
of it, is asked of the router's endpoint, may be changed on its way back, and is written into the session's journal.
Switching on and off lets the server forget the heads that it knows, because it remembers their endpoints beside them.

Everything hangs on a session, and nothing is global: the script, the faults, the limits, the journal, the clock, and
what the mock remembers. `/s/NAME/v1/...` is the session NAME, everything else the server's own, whose name is "". So
tests that run side by side share one server. Below `/_oaiserve/` and `/s/NAME/_oaiserve/` a session is controlled.

    clock       time that can be advanced
    journal     what came and what went
    limits      what keys and models may use
    session     all that hangs on one name
    take        what is known of one request
    faults      what goes wrong with answers; its docstring has its modules
    layer       requests on their way to a backend and back
    script/     what a mock is to say to what
    scripts     scripts as a server reads them
    control     the paths below /_oaiserve/
    gate        what stands before the router, and costs nothing while the instrument is off
"""
