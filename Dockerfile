# docker build -t oaiserve .
# docker run -p 8000:8000 oaiserve                      the mock
# docker run -p 8000:8000 -e DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com oaiserve dashscope
#
# A config.ini of your own:  -v "$PWD/config.ini:/app/config.ini:ro"  (host and port stay those of ENTRYPOINT).
# Stopping takes as long as the running answers, at most drain_timeout:  docker stop -t 40 …

ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
COPY oaiserve.py ./
COPY protocol protocol
# Compiled here, because a user who may not write could not keep what each start would compile: the file itself, which
# never changes, so that nothing has to be compared with it, least of all the times that copying may alter; then each
# module that it carries, which is checked by its text and by the path, the same as below.
RUN python3 oaiserve.py bundle /app \
    && rm /app/oaiserve.pyz \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app \
    && cd /app \
    && python3 -c "import oaiserve; carried = oaiserve.protocol.__loader__; [carried.get_code('oaiserve.' + name) for name in carried.modules if name]"

FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# No user of the image's: the number alone, which owns nothing.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 CMD ["python3", "-c", "import http.client; connection = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); connection.request('GET', '/health'); raise SystemExit(connection.getresponse().status != 200)"]
# Without a shell in between, signals reach the server. Whatever follows the image's name is added: command, options.
ENTRYPOINT ["python3", "-m", "oaiserve", "--host", "0.0.0.0", "--port", "8000"]
# The command is the caller's; with none, config.ini or the mock answers.
CMD []
