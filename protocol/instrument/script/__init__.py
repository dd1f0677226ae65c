"""Scripts: what a mock is to say to what, as JSON.

Theory of operation. A script is read once (script.py) into rules. A request's facts are an Asked (asked.py). The first
rule whose conditions (conditions.py) all hold speaks: its answer (answers.py) is filled in by look-ups (templates.py).
What counts, such as how often a rule has spoken, is in a ScriptState, which the session owns. A place says only what it
can say (places.py), and a rule does not fit where its answer cannot be said.

    reading      one-line errors: where in the script, what came, what was expected
    places       which endpoints speak, and what each can say
    asked        the facts of one request
    texts        conditions on a text
    conditions   `when`
    templates    look-ups in answers
    answers      `answer`: what is said
    script       rules, and which of them speaks

Pure: no clock, no loop, no chance.
"""
