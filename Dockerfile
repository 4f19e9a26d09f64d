# Two stages: the first installs what is pinned, the second holds that, the code and nothing else.
FROM python:3.11-slim-trixie AS installed

RUN python -m venv /opt/venv
WORKDIR /requirements
COPY requirements.txt requirements-otel.txt ./
# requirements-otel.txt adds OpenTelemetry.
ARG REQUIREMENTS=requirements.txt
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -r "$REQUIREMENTS"


FROM python:3.11-slim-trixie

# A fixed uid, so that a volume keeps its owner from one image to the next.
RUN groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid gateway --create-home --shell /usr/sbin/nologin gateway \
    && install --directory --owner=gateway --group=gateway --mode=0700 /data

COPY --from=installed /opt/venv /opt/venv
WORKDIR /app
COPY run.py ./
COPY schema ./schema
COPY simulator ./simulator
COPY gateway ./gateway

# Open to the container's network: the server refuses to start like that until API_KEYS, JWT_SECRET or ADMIN_TOKEN is set, or
# ALLOW_ANONYMOUS says that anyone may come.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data \
    LOG_FORMAT=json

# By number: Kubernetes cannot tell from a name that it is not root. RUN_AS=0:0 is for hosts whose volumes are root's.
# No VOLUME, which Railway refuses: mount one on /data.
ARG RUN_AS=10001:10001
USER $RUN_AS
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "run.py"]
