"""The rooms of oaiserve, from the ground up. Imports point up this list, never down: a room knows only those above it.

errors, config, deadline    ground: errors, settings, the one lazy timer
wire/           one format a module, bytes <-> events: no asyncio, no clock
exchange        a request and its answer, as backends see them
openai/         OpenAI's shapes
  api/          the notation of the API's description, and what is made from a description
  reference/    the API, described in that notation
upstream/       connections out, shared by relay and dashscope
service/        what stands before every backend: router, doors, cors, log, metrics
server/         connections in: asyncio around the readers and writers of wire/http1
relay/          a backend: passes requests on to a real upstream
dashscope/      a backend: translates to DashScope's native API
  mapping/      the translation itself, pure functions
mock/           a backend: answers by itself
tools/          commands beside serving: try, bundle
"""
