# One image for the worker and every other `regrow` command: docker run … list -o json
ARG PYTHON=3.13.15-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE* ./
COPY src src
# The venv gets a wheel, not the checkout: the image holds what `pip install regrow` would.
ARG EXTRAS=executors
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir dist . \
 && python -m venv /opt/regrow \
 && /opt/regrow/bin/pip install "$(echo dist/regrow-*.whl)[${EXTRAS}]"

FROM python:${PYTHON}
# A number, so that a runtime can check that it isn't root without reading /etc/passwd.
RUN groupadd --gid 10001 regrow \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /app regrow
COPY --from=build /opt/regrow /opt/regrow
# /app is where executors are mounted or copied: /app/executors is importable as `executors`.
WORKDIR /app
ENV PATH=/opt/regrow/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001

# No HEALTHCHECK: the worker has no endpoint to ask, and the image doesn't know where the server is.
# docker-compose.yml knows, and asks the server whether the worker polls.
ENTRYPOINT ["regrow"]
CMD ["worker"]
