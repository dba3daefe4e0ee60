# The package and its example servers, as the services of docker-compose.yml run them.

FROM python:3.11-slim AS build
WORKDIR /source
# By name, so that no .env and nothing else of the directory comes into a layer.
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY broker_plane broker_plane
COPY servers servers
COPY demos demos
COPY docs docs
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheel,target=/wheel \
    pip install --no-cache-dir "$(ls /wheel/broker_plane-*.whl)[demos,files,query]"

# A user with a number, so that `runAsNonRoot` of an orchestrator can see it. It owns the directories of charts and keys,
# and a volume that is mounted there for the first time takes that over.
RUN useradd --uid 10001 --create-home plane && install -d -o plane /charts && install -d -o plane -m 700 /data
ENV PYTHONUNBUFFERED=1 BROKER_PLANE_CHART_DIR=/charts BROKER_PLANE_DATA_DIR=/data
USER 10001
WORKDIR /home/plane

EXPOSE 8787
CMD ["broker-plane", "bridge", "--host", "0.0.0.0", "--port", "8787"]
