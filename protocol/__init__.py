"""The house: its rooms from the ground up, and which others each may import.

A request comes in through `server`, which reads it with `wire` and hands it to `service`; its router asks a backend
(`relay`, `dashscope` or `mock`), and the answer goes back the same way. `program` wires them together.

    errors -> nothing
        What a caller or a user is refused with: status, type and code, or one line on the terminal.
    budget -> errors
        What one request may cost, counted where the work loops.
    turns -> errors, budget
        Long work beside the loop, in turns with everybody else.
    on_demand -> budget
        What is loaded when: one table. Whoever calls its `load` may load what his line allows him to import.
    decided -> nothing
        What is decided for one request: what it draws, its pace, its beginning.
    deadline -> nothing
        The one lazy timer.
    event_loop -> nothing
        asyncio's own event loop, whose timers ring on time.
    limiter -> nothing
        How much of something whoever may take in a span of time.
    pacer -> nothing
        Timers that thousands share.
    held_bytes -> errors
        How many bytes are held for requests and answers, of how many that may be.
    patterns -> budget
        Regular expressions in bounded time: found in texts, and texts written that match.
    nearest -> nothing
        The word that was meant.
    config_file -> errors
        The text of a config.ini, and what is wrong in it.
    config -> errors, on_demand, nearest, config_file
        Settings from the command line, the environment and config.ini, each described once.
    wire -> errors, budget
        One format each, bytes to events and back: HTTP/1.1, server-sent events, forms, WebSocket, zip, JSON.
    exchange -> errors, turns, held_bytes, wire
        A request and its answer, as backends see them.
    timed -> exchange, pacer
        Frames that leave at times of their own.
    witness -> exchange
        Answers' bodies as they leave, seen by who writes them down.
    upstream -> errors, on_demand, deadline, config, wire
        Connections out: destination, TLS, proxy, pool, and what can fail there.
    openai -> errors, budget, on_demand, limiter, wire, exchange
        OpenAI's shapes: answers and errors, completions, sound; where a request names its model. `reference/` describes
        the whole API, in the notation that `api/` reads.
    service -> errors, budget, on_demand, config, wire, exchange, witness, openai
        What stands around the backends: router, doors, CORS, the guard of keys, log, metrics. `page/` is the page for
        people, its HTML, CSS and JavaScript files of their own; `live` tells it what comes.
    team -> errors, budget, on_demand, deadline, nearest, limiter, config_file, config, wire, exchange, witness,
        openai, service/own_machine, service/doors
        Several who share one key: who they are, what each may take and has taken. Its docstring has its modules.
    server -> errors, turns, deadline, pacer, held_bytes, config, wire, exchange, timed, service
        Connections in, and the processes that share the port. It knows no OpenAI: error shapes are handed in.
    instrument -> errors, budget, turns, on_demand, decided, patterns, limiter, pacer, wire, exchange, timed, witness,
        openai, service/own_machine
        What a tester switches on: sessions, scripts, faults, limits, the journal. Its docstring says how.
    cassette -> errors, budget, turns, wire, exchange, witness, openai
        What an upstream answered, on disk, and given again without it.
    relay -> errors, turns, on_demand, config, wire, exchange, upstream, openai, service/log
        The backend that passes on, byte for byte.
    dashscope/mapping -> errors, wire, openai
        DashScope's native API in OpenAI's terms, and back: pure functions.
    dashscope -> errors, turns, config, wire, exchange, upstream, openai, service/log, dashscope/mapping
        The backend that translates.
    mock -> errors, budget, turns, on_demand, decided, pacer, patterns, config, wire, exchange, timed, openai,
        instrument/script, instrument/faults, dashscope/mapping
        The backend that answers by itself. Its own rooms are drawn in its docstring.
    tools -> errors, wire
        What is no part of serving: the test client, the builder of the single file.
    program -> everything
        All of it wired together: the command line, the running service, its banner and log, a server within a program.

Pure: patterns, wire, dashscope/mapping. No event loop, clock, socket or thread is imported there, so that a test is
bytes in, events out.

A room imports itself and what its line names; all of that stands above it in this list. What it needs from below, such
as a connector, a clock or the shape of an error, is handed to it as an argument. Backends do not know each other, and
nobody imports oaiserve.py. `python tests/check arrows` reads this list and holds the code to it.
"""
