# MASSM on a CPU.
#   docker build -t massm .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" massm infer ct.nii.gz --out out
FROM python:3.11-slim AS build
# The compiler builds massm's operators and stays behind.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/massm
ENV PATH=/opt/massm/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements requirements
# Torch alone from its own index, which has wheels without CUDA; what it needs comes with the rest.
# hadolint ignore=DL3013
RUN pip install -c requirements/constraints.txt setuptools wheel ninja \
    && pip install -c requirements/constraints.txt --no-deps \
       --index-url https://download.pytorch.org/whl/cpu torch
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY massm massm
# First all that it needs, each package built by itself; then ours again beside torch, for its operators.
RUN pip install -c requirements/constraints.txt ".[dicom]" \
    && pip install --no-build-isolation --no-deps --force-reinstall .

FROM python:3.11-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libgomp1 libusb-1.0-0 libx11-6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/massm /opt/massm
# Whoever runs it has a home that can be written, for what libraries keep.
ENV PATH=/opt/massm/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
RUN useradd --uid 1000 massm && massm doctor
USER 1000
WORKDIR /data
ENTRYPOINT ["massm"]
CMD ["--help"]
