"""Connections in: asyncio around the readers and writers of wire/http1.

server      listens, and holds what all connections share
listening   accepts connections, within limits
descriptors how many of them the limit on open files leaves room for
connection  one client: its phases, its requests, its time limits
receiving   bodies of requests coming in
answering   what is done for every request: count, log, ask its endpoint, render an answer
sending     an Exchange, which is a request whose answer takes longer, and its body going out
output      what is written to one client
slicing     large bodies, which leave as fast as their client reads
leaving     how a connection ends, and how a client that has gone is noticed
allocator   what the C library does with the memory of large bodies
workers     several processes on one port
handover    sockets from and to other processes: the service manager, and this program before and after an upgrade
"""
