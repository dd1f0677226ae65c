"""The program: all other rooms wired together. Nobody imports it but oaiserve.py.

version       which one it is
options       what may stand on the command line, and the help that tells of it
kinds         the kinds of backends, and how one is made for a route
routed        what the routes of a configuration lead to
given         the settings that the command line, the environment and the files give
lasting       settings that hold as long as the process
books         the file of limits, and the ledger with the process that writes it
checks        whether a configuration can work, before anything of it does
log_target    the log, and where it goes
service       a running service: what a configuration makes of it, and what outlasts a change of that
banner        what a start tells on the terminal
outside       who started it, who listens before and after it, its terminal
serving       the commands that serve
several       the parent of several processes that serve
embedding     a server within a program
command_line  which command is meant, and those that do not serve
"""
