"""Faults: one language for what goes wrong with an answer, and how each of them is done to it.

language    the text of a fault, read and checked
kinds       the table of what there is: parameters, and where each kind acts
draws       when a fault happens: counters, times, and chance that repeats
codes       OpenAI's error codes in full
events      a stream cut into its events, without losing a byte; what an event means
in_streams  what goes wrong between events
in_answers  what goes wrong with what an answer means
on_wire     what goes wrong with bytes and connections: the answer that is sent as it is
sources     where a request's fault comes from
shaper      bytes that leave at their times
by_name     what a model's name asks of a mock whose instrument is off
injection   the one way in: from an answer and a fault to the faulted answer
"""
