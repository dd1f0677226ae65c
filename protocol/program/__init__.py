"""The program: all other rooms wired together.

    version        which one it is
    options        what may stand on the command line, and the help that tells of it
    kinds          the kinds of backends, and the sections of a configuration
    configuration  which configuration a command reads
    routed         what the routes of a configuration lead to
    making         how backends are made, for the routes that lead to them
    lasting        settings that hold as long as the process
    books          the file of limits, and the ledger with the process that writes it
    checks         whether a configuration can work, before anything of it does
    log_target     the log, and where it goes
    service        a running service: what a configuration makes of it, and what outlasts a change of that
    banner         what a start tells on the terminal
    outside        who started it, who listens before and after it, its terminal
    serving        the commands that serve
    parent         the parent of workers
    embedding      a server within a program
    command_line   which command is meant, and those that do not serve

Nobody imports it but oaiserve.py.
"""
