# syntax=docker/dockerfile:1

# ---- what Kairos needs, each file checked against its hash; no broker and no Redis of the `embedded` extra
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
RUN python -m venv /opt/venv
COPY requirements.lock /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/pip install --require-hashes --requirement /build/requirements.lock

# ---- what runs
FROM python:3.11.13-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY config ./config
COPY models ./models
COPY services ./services
COPY streams ./streams
# The packages run from /app, as in a clone; installing them too would put a second copy of each on the path.
RUN python -m compileall -q -j 0 /opt/venv /app \
    && printf '%s\n' '#!/opt/venv/bin/python' 'import sys' 'from services.cli import main' 'sys.exit(main())' \
       > /usr/local/bin/kairos \
    && chmod 755 /usr/local/bin/kairos
USER 10001:10001
STOPSIGNAL SIGTERM
EXPOSE 8080
# Of the role that runs by default; docker-compose.yml names that of each service.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 CMD ["kairos", "health", "decide"]
CMD ["python", "-m", "streams", "decide"]
