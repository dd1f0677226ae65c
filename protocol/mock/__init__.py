"""The mock: every endpoint of the OpenAI API, answered by itself.

`backend` answers chats of the simplest form by itself. Any other request loads `api`, which finds its operation in the
description of the API (protocol/openai/reference/); `engine` carries it out on what is remembered. The other rooms hold
what is particular to one family of endpoints. From the ground up, each with the other rooms of the mock that it may
load or import (protocol/__init__.py says what the mock may import at all):

    drawn -> nothing
        How distributions are written.
    settings -> drawn
        Its sections of the configuration.
    pace -> drawn, settings
        How long answers are, and what time their words take.
    repeating -> nothing
        Equal answers to equal requests, for `freeze`.
    unchecked -> nothing
        JSON read that may not be as the API describes it.
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
    engine -> settings, pace
        Operations read from the description, and what their verbs do to what is remembered.
    storage -> unchecked, text, engine
        Files, and what is made of them: uploads, batches, vector stores, containers, skills.
    inference -> pace, text, media, served_files, answer, engine, storage
        Chat, completions, images, sound, embeddings, moderations, videos.
    responses -> unchecked, media, answer, engine
        Responses and conversations.
    assistants -> unchecked, answer, engine, storage, inference
        Assistants, threads and their runs; ChatKit.
    agents -> unchecked, answer, engine, storage, inference
        Agents, their sessions, environments and automations.
    realtime -> unchecked, media, answer, engine, responses
        Conversations over WebSocket: Realtime, translations, Responses, live sessions.
    training -> answer, engine
        Fine-tuning and evals.
    organization -> engine
        The administration of an organization, its log, its usage, its webhooks.
    dashscope -> pace, unchecked, json_schema, text, media, served_files, answer
        DashScope's native API as the mock answers it.
    families -> engine, storage, inference, responses, assistants, agents, realtime, training, organization
        Who answers below which path: they are loaded with the first request there.
    api -> engine, families
        All of OpenAI's API.
    backend -> settings, repeating, served_files, engine, inference, dashscope, api
        What the rest of the house sees of the mock.
"""
