# The build's tools and their versions, nowhere else. Each is installed by `go install PATH@VERSION`
# and so with the dependencies it was released with; in one go.mod they would raise each other's.
TEMPORAL_VERSION        := v1.5.1
TEMPORAL_SERVER_VERSION := v1.32.1
STATICCHECK_VERSION     := v0.8.2
WORKFLOWCHECK_VERSION   := v0.6.0
