"""The mock: every endpoint of the OpenAI API, answered by itself.

`backend` finds a request's operation in the description of the API (protocol/openai/reference/), and `engine` carries it
out on what is remembered. The other rooms hold what is particular to one family of endpoints. From the ground up, and
with the other rooms of the mock that each may import (protocol/__init__.py says what the mock may import at all):

    json_schema -> nothing
        Schemas read, and values checked against them.
    text -> nothing
        Words counted, ranked and turned into vectors.
    media -> nothing
        Pictures and sound, made without a library.
    served_files -> nothing
        Where the mock's own files can be fetched.
    answer -> json_schema
        What an answer says: which tools a prompt asks for, with what arguments, and JSON that fits.
    engine -> nothing
        Operations read from the description, and what their verbs do to what is remembered.
    storage -> engine, text
        Files, and what is made of them: uploads, batches, vector stores, containers, skills.
    inference -> answer, engine, media, served_files, storage, text
        Chat, completions, images, sound, embeddings, moderations, videos.
    responses -> answer, engine, media
        Responses and conversations.
    assistants -> answer, engine, inference, storage
        Assistants, threads and their runs; ChatKit.
    agents -> answer, engine, inference, storage, assistants
        Agents, their sessions, environments and automations.
    realtime -> answer, engine, media, responses, assistants
        Conversations over WebSocket: Realtime, translations, Responses, live sessions.
    training -> answer, engine
        Fine-tuning and evals.
    organization -> engine
        The administration of an organization, its log, its usage, its webhooks.
    dashscope -> answer, json_schema, media, served_files, text
        DashScope's native API as the mock answers it.
    backend -> served_files, engine, storage, inference, responses, assistants, agents, realtime, training, organization,
            dashscope
        The table of who answers what.
"""
