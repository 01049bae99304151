# Targets: worker (the default), starter, and localaws for rehearsals without AWS.
ARG GO_VERSION=1.26.8

FROM golang:${GO_VERSION}-bookworm AS build
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -buildvcs=false -o /out/ ./worker ./starter ./internal/localaws/cmd/localaws

FROM debian:bookworm-slim AS runtime
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN useradd --uid 10001 --create-home edgefleet
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /home/edgefleet

FROM runtime AS localaws
COPY --from=build /out/localaws /usr/local/bin/
EXPOSE 4566 8443
ENTRYPOINT ["localaws"]

FROM runtime AS starter
COPY --from=build /out/starter /usr/local/bin/
ENTRYPOINT ["starter"]

FROM runtime AS worker
COPY --from=build /out/worker /usr/local/bin/
# Beyond loopback, for the container's neighbours to see its health and metrics.
ENV EDGEFLEET_METRICS_ADDRESS=0.0.0.0:9464
EXPOSE 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["worker", "-health"]
ENTRYPOINT ["worker"]
