# One image for every role of the fleet; the command says which. Targets: cpu, gpu.
# pip is configured by two optional build secrets, for networks with an index or certificates of their own:
#   docker build --target cpu --secret id=pip,src=pip.conf --secret id=ca,src=ca-certificates.crt .

ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
RUN python3 -m venv /opt/tuner
ENV PATH=/opt/tuner/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# What is asked for changes seldom: a layer of its own, which a change of the source leaves alone.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
    print(*p['dependencies'], *p['optional-dependencies']['dashboard'], sep='\n')" > needed.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip install --constraint requirements.lock --requirement needed.txt

FROM build AS build-gpu
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['gpu'], sep='\n')" > gpu.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip install --constraint requirements.lock --requirement gpu.txt

FROM build AS wheel
COPY README.md ./
COPY models models
COPY optimizers optimizers
COPY tuner tuner
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip wheel --no-deps --wheel-dir /wheel .

FROM ${PYTHON_IMAGE} AS base
# Whoever starts a container says as which user; that one writes to volumes at /home/tuner and to /tmp.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin tuner && chmod 1777 /home/tuner
ENV PATH=/opt/tuner/bin:$PATH HOME=/tmp USER=tuner PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TUNER_HOME=/home/tuner TUNER_DATA=/data
WORKDIR /studies
ENTRYPOINT ["tuner"]

FROM base AS gpu
COPY --from=build-gpu /opt/tuner /opt/tuner
RUN --mount=from=wheel,source=/wheel,target=/wheel pip install --no-index --no-deps --no-cache-dir /wheel/*.whl
USER tuner

FROM base AS cpu
COPY --from=build /opt/tuner /opt/tuner
RUN --mount=from=wheel,source=/wheel,target=/wheel pip install --no-index --no-deps --no-cache-dir /wheel/*.whl
USER tuner
