# The image that `batchexport schedule emit kubernetes` names:
#   docker build -t batchexport:0.1.0 .
FROM python:3.13-slim

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY batchexport /src/batchexport
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[fast,xlsx,postgres,objectstore]' \
    && rm -r /src \
    && useradd --uid 10001 --create-home batchexport

USER 10001:10001
# Job files, lists and state files are mounted; nothing is kept in the image, whose file system may be read-only.
WORKDIR /jobs
ENTRYPOINT ["batchexport"]
CMD ["--help"]
