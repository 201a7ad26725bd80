# mvdecor for GPUs: the wheel of PyTorch brings its own CUDA libraries, so the machine needs only a driver that knows their CUDA
# (13: NVIDIA's driver 580 or newer) and NVIDIA's container toolkit.
#   docker build -t mvdecor .
#   docker run --gpus all --ipc=host --user "$(id -u):$(id -g)" -v DATA:/data -v "$PWD/outputs:/mvdecor/outputs" mvdecor \
#       -m torch.distributed.run --nproc_per_node=8 scripts/pipeline.py experiment=renderpeople data.root=/data
FROM python:3.11-slim
# git tells the code's revision, which every result carries; gcc is for training.compile
RUN apt-get update && apt-get install --yes --no-install-recommends gcc git libc6-dev && rm -rf /var/lib/apt/lists/*
# for any --user: caches go where all may write, torch.compile names its own after a user, git reads a checkout of another owner
ENV HOME=/tmp USER=mvdecor
RUN git config --system --add safe.directory /mvdecor
WORKDIR /mvdecor
COPY . .
RUN pip install --no-cache-dir --editable .
ENTRYPOINT ["python"]
CMD ["-m", "mvdecor.doctor"]
