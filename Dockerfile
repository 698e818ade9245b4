# WEND with PyTorch, for GPUs or CPUs. PyTorch's default wheels bring CUDA's libraries with them:
#   docker build -t wend .
#   docker run --rm --gpus all -v "$PWD:/work" wend train --config-file demo --datasets-root data
# For CPUs alone (gigabytes less), with the package index that pytorch.org's installation page names for them:
#   docker build -t wend-cpu --build-arg TORCH_INDEX=<that index> .
# With Detectron2, which is built from source (its commit: README):
#   docker build -t wend --build-arg DETECTRON2=02b5c4e2 .
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH_INDEX=
ARG DETECTRON2=
ARG EXTRAS=classifier,pretrained

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /opt/wend
COPY constraints.txt ./
RUN python -m pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

# hadolint ignore=DL3008
RUN if [ -n "$DETECTRON2" ]; then \
        apt-get update \
        && apt-get install -y --no-install-recommends g++ git \
        && rm -rf /var/lib/apt/lists/* \
        && python -m pip install -c constraints.txt setuptools wheel \
        && python -m pip install -c constraints.txt --no-build-isolation \
            "git+https://github.com/facebookresearch/detectron2.git@${DETECTRON2}"; \
    fi

COPY . .
RUN python -m pip install -c constraints.txt ".[${EXTRAS}]" \
    && useradd --create-home wend
USER wend
WORKDIR /work
ENTRYPOINT ["wend"]
CMD ["--help"]
