// Package compose checks docker-compose.yml and Dockerfile as far as that goes without containers:
// both are read as Docker reads them, and must agree with each other and with the source.
package compose

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"edgefleet/internal/devstack"
)

const root = "../.."

// load reads docker-compose.yml with nothing but env in the environment.
func load(t *testing.T, env types.Mapping, profiles ...string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml")}},
		Environment: env,
	}, func(o *loader.Options) { o.Profiles = profiles })
	require.NoError(t, err)
	return project
}

func names(services types.Services) []string {
	var all []string
	for name := range services {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// environment of a service, resolved.
func environment(s types.ServiceConfig) map[string]string {
	env := map[string]string{}
	for name, value := range s.Environment {
		if value != nil {
			env[name] = *value
		}
	}
	return env
}

var (
	oneShots = []string{"search-attributes", "temporal-schema"}
	always   = []string{"postgresql", "search-attributes", "temporal", "temporal-schema", "temporal-ui", "worker"}
)

func TestServices(t *testing.T) {
	assert.Equal(t, always, names(load(t, nil).Services))
	withLocal := slices.Sorted(slices.Values(append(slices.Clone(always), "localaws")))
	assert.Equal(t, withLocal, names(load(t, nil, "local").Services))
}

func TestImagesArePinned(t *testing.T) {
	version := regexp.MustCompile(`^[a-z]+(/[a-z-]+)?:\d+\.\d+`)
	for name, s := range load(t, nil, "local").Services {
		if s.Build != nil {
			assert.Empty(t, s.Image, "%s is built here", name)
			continue
		}
		assert.Regexp(t, version, s.Image, name)
	}
}

// One version of Temporal: the tools that make the schema, and the server that runs on it.
func TestTemporalVersionsAgree(t *testing.T) {
	p := load(t, nil)
	_, server, _ := strings.Cut(p.Services["temporal"].Image, ":")
	for _, name := range oneShots {
		_, tools, _ := strings.Cut(p.Services[name].Image, ":")
		assert.True(t, strings.HasPrefix(tools, server+"-"), "%s has tools %s, the server is %s", name, tools, server)
	}
}

func TestPortsAreOnLoopback(t *testing.T) {
	var published []string
	for name, s := range load(t, nil, "local").Services {
		for _, port := range s.Ports {
			assert.Equal(t, "127.0.0.1", port.HostIP, "%s publishes %s", name, port.Published)
			published = append(published, name+" "+port.Published+":"+strconv.Itoa(int(port.Target)))
		}
		assert.Empty(t, s.NetworkMode, name)
	}
	assert.ElementsMatch(t, []string{"temporal 7233:7233", "temporal-ui 8233:8080", "localaws 4566:4566",
		"localaws 8443:8443", "worker 9464:9464"}, published)
}

func TestLongRunningServicesHaveHealthChecksAndRestart(t *testing.T) {
	for name, s := range load(t, nil, "local").Services {
		if slices.Contains(oneShots, name) {
			assert.Contains(t, []string{"", "no"}, s.Restart, "%s runs once", name)
			continue
		}
		assert.Equal(t, "unless-stopped", s.Restart, name)
		if assert.NotNil(t, s.HealthCheck, name) {
			assert.False(t, s.HealthCheck.Disable, name)
			assert.Greater(t, len(s.HealthCheck.Test), 1, name)
			assert.NotNil(t, s.HealthCheck.Interval, name)
			assert.NotNil(t, s.HealthCheck.Timeout, name)
		}
	}
}

func TestOrderOfStart(t *testing.T) {
	after := func(condition string) types.ServiceDependency {
		return types.ServiceDependency{Condition: condition, Required: true}
	}
	healthy, completed := after(types.ServiceConditionHealthy), after(types.ServiceConditionCompletedSuccessfully)
	p := load(t, nil, "local")
	for name, want := range map[string]types.DependsOnConfig{
		"temporal-schema":   {"postgresql": healthy},
		"temporal":          {"temporal-schema": completed},
		"search-attributes": {"temporal": healthy},
		"temporal-ui":       {"temporal": healthy},
		"worker": {"search-attributes": completed,
			"localaws": {Condition: types.ServiceConditionHealthy, Required: false}},
	} {
		assert.Equal(t, want, p.Services[name].DependsOn, name)
	}
}

// Who is connected with whom: each address names a service, at a port it listens on.
func TestAddresses(t *testing.T) {
	p := load(t, nil, "local")
	worker := environment(p.Services["worker"])
	for _, name := range []string{"worker", "search-attributes", "temporal-ui"} {
		assert.Equal(t, "temporal:7233", environment(p.Services[name])["TEMPORAL_ADDRESS"], name)
	}
	assert.Equal(t, worker["TEMPORAL_NAMESPACE"], environment(p.Services["search-attributes"])["TEMPORAL_NAMESPACE"])
	assert.Equal(t, "http://localaws:4566", worker["AWS_ENDPOINT_URL"])
	assert.Equal(t, "http://localaws:4566/_localaws/AmazonRootCA1.pem", worker["EDGEFLEET_ROOT_CA_URL"])
	assert.Equal(t, "http://localaws:4566/_localaws/quotas", worker["EDGEFLEET_QUOTAS"])
	assert.Equal(t, "0.0.0.0:9464", worker["EDGEFLEET_METRICS_ADDRESS"])
	assert.NotEmpty(t, worker["AWS_REGION"])

	local := strings.Join(p.Services["localaws"].Command, " ")
	for _, flag := range []string{"-address=0.0.0.0:4566", "-credentials-address=0.0.0.0:8443", "-credentials-host=localaws"} {
		assert.Contains(t, local, flag)
	}
	data, err := os.ReadFile(filepath.Join(root, "examples/fleet.yaml"))
	require.NoError(t, err)
	bucket := regexp.MustCompile(`(?m)^bundles: s3://([^/\s]+)`).FindSubmatch(data)
	require.NotNil(t, bucket)
	assert.Contains(t, local, "-bucket="+string(bucket[1]), "the example's bucket is there")

	db := environment(p.Services["postgresql"])
	schema, server := environment(p.Services["temporal-schema"]), environment(p.Services["temporal"])
	assert.Equal(t, "postgresql", schema["SQL_HOST"])
	assert.Equal(t, "postgresql", server["POSTGRES_SEEDS"])
	assert.Equal(t, schema["SQL_PLUGIN"], server["DB"])
	for _, client := range [][2]string{{schema["SQL_USER"], schema["SQL_PASSWORD"]}, {server["POSTGRES_USER"], server["POSTGRES_PWD"]}} {
		assert.Equal(t, [2]string{db["POSTGRES_USER"], db["POSTGRES_PASSWORD"]}, client)
	}
}

// Set to nothing, an address means AWS itself; credentials come from the environment.
func TestAgainstAWS(t *testing.T) {
	worker := environment(load(t, types.Mapping{
		"AWS_ENDPOINT_URL": "", "EDGEFLEET_ROOT_CA_URL": "", "EDGEFLEET_QUOTAS": "", "AWS_REGION": "eu-central-1",
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_SESSION_TOKEN": "token",
	}).Services["worker"])
	assert.Empty(t, worker["AWS_ENDPOINT_URL"])
	assert.Empty(t, worker["EDGEFLEET_ROOT_CA_URL"])
	assert.Empty(t, worker["EDGEFLEET_QUOTAS"])
	assert.Equal(t, "eu-central-1", worker["AWS_REGION"])
	assert.Equal(t, []string{"id", "key", "token"},
		[]string{worker["AWS_ACCESS_KEY_ID"], worker["AWS_SECRET_ACCESS_KEY"], worker["AWS_SESSION_TOKEN"]})
}

// The only values that look secret are throw-away ones that the environment replaces.
func TestNoSecrets(t *testing.T) {
	secret := regexp.MustCompile(`(?i)(password|pwd|secret|token|access_key|api_key)`)
	throwAway := []string{"", "local", "temporal"}
	replaced := load(t, types.Mapping{"TEMPORAL_DB_PASSWORD": "x", "AWS_ACCESS_KEY_ID": "x",
		"AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "x", "EDGEFLEET_HOOK_SECRET": "x"}, "local")
	for name, s := range load(t, nil, "local").Services {
		for key, value := range environment(s) {
			if secret.MatchString(key) {
				assert.Contains(t, throwAway, value, "%s: %s", name, key)
				assert.Equal(t, "x", environment(replaced.Services[name])[key], "%s: %s is replaced by the environment", name, key)
			}
		}
		assert.Empty(t, s.EnvFiles, name)
		assert.Empty(t, s.Secrets, name)
		assert.False(t, s.Privileged, name)
	}
}

func TestPostgreSQLKeepsItsDataInANamedVolume(t *testing.T) {
	p := load(t, nil)
	volumes := p.Services["postgresql"].Volumes
	require.Len(t, volumes, 1)
	assert.Equal(t, "volume", volumes[0].Type)
	assert.Equal(t, "/var/lib/postgresql/data", volumes[0].Target)
	assert.Contains(t, p.Volumes, volumes[0].Source)
}

// The server has the settings that `starter dev` gives its own, where it looks for them.
func TestTemporalSettings(t *testing.T) {
	p := load(t, nil)
	server := p.Services["temporal"]
	require.Len(t, server.Configs, 1)
	assert.Equal(t, environment(server)["DYNAMIC_CONFIG_FILE_PATH"], server.Configs[0].Target)
	var settings map[string][]struct{ Value any }
	require.NoError(t, yaml.Unmarshal([]byte(p.Configs[server.Configs[0].Source].Content), &settings))
	compose, dev := map[string]string{}, map[string]string{}
	for name, values := range settings {
		require.Len(t, values, 1)
		compose[name] = fmt.Sprint(values[0].Value)
	}
	for name, value := range devstack.ServerSettings {
		dev[name] = fmt.Sprint(value)
	}
	delete(dev, "system.forceSearchAttributesCacheRefreshOnRead") // which only the dev server has otherwise
	assert.Equal(t, dev, compose)
}

func TestSearchAttributesAreRegistered(t *testing.T) {
	script := strings.Join(load(t, nil).Services["search-attributes"].Command, " ")
	registered := regexp.MustCompile(`--name (\w+) --type (\w+)`).FindAllStringSubmatch(script, -1)
	var all []string
	for _, m := range registered {
		assert.Equal(t, "Keyword", m[2], m[1])
		all = append(all, m[1])
	}
	assert.ElementsMatch(t, []string{"EdgeFleet", "ProvisionState", "ProvisionStep", "ProvisionError"}, all)
}

// stage of the Dockerfile.
type stage struct {
	base, name   string
	instructions []string
}

func dockerfile(t *testing.T) []stage {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	var stages []stage
	from := regexp.MustCompile(`^FROM (\S+) AS (\S+)$`)
	for line := range strings.Lines(strings.ReplaceAll(string(data), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if m := from.FindStringSubmatch(line); m != nil {
			stages = append(stages, stage{base: m[1], name: m[2]})
		} else if len(stages) > 0 && line != "" && !strings.HasPrefix(line, "#") {
			last := &stages[len(stages)-1]
			last.instructions = append(last.instructions, line)
		}
	}
	require.NotEmpty(t, stages)
	return stages
}

// all instructions of a stage, with those of the stages below it first.
func all(stages []stage, name string) []string {
	i := slices.IndexFunc(stages, func(s stage) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return append(all(stages[:i], stages[i].base), stages[i].instructions...)
}

func TestBuiltServicesAreInTheDockerfile(t *testing.T) {
	stages := dockerfile(t)
	dir, err := filepath.Abs(root)
	require.NoError(t, err)
	for name, s := range load(t, nil, "local").Services {
		if s.Build == nil {
			continue
		}
		assert.Equal(t, dir, s.Build.Context, name)
		assert.Contains(t, []string{"", "Dockerfile"}, s.Build.Dockerfile, name)
		instructions := all(stages, s.Build.Target)
		if !assert.NotEmpty(t, instructions, "%s: the Dockerfile has no target %q", name, s.Build.Target) {
			continue
		}
		assert.Contains(t, instructions, `ENTRYPOINT ["`+name+`"]`)
		exposed := strings.Fields(strings.Join(slices.DeleteFunc(slices.Clone(instructions), func(in string) bool {
			return !strings.HasPrefix(in, "EXPOSE ")
		}), " "))
		for _, port := range s.Ports {
			assert.Contains(t, exposed, strconv.Itoa(int(port.Target)), "%s publishes what its image exposes", name)
		}
		assert.True(t, s.ReadOnly, name)
		assert.Equal(t, []string{"ALL"}, s.CapDrop, name)
	}
}

func TestDockerfile(t *testing.T) {
	stages := dockerfile(t)
	assert.Equal(t, "worker", stages[len(stages)-1].name, "the default target")
	for _, target := range []string{"worker", "starter", "localaws"} {
		user := ""
		for _, in := range all(stages, target) {
			if u, ok := strings.CutPrefix(in, "USER "); ok {
				user = u
			}
		}
		assert.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, user, "%s runs as an ordinary user", target)
		assert.Contains(t, all(stages, target), "COPY --from=build /out/"+target+" /usr/local/bin/")
	}
	assert.Contains(t, stages[0].instructions, "ENV CGO_ENABLED=0 GOTOOLCHAIN=local")
	for _, s := range stages {
		assert.False(t, strings.HasSuffix(s.base, ":latest"), s.base)
		for _, in := range s.instructions {
			if m := regexp.MustCompile(`--from=(\S+)`).FindStringSubmatch(in); m != nil {
				assert.True(t, slices.ContainsFunc(stages, func(s stage) bool { return s.name == m[1] }), in)
			}
		}
	}
}

// The image's Go builds go.mod, which with GOTOOLCHAIN=local an older one does not.
func TestDockerfileHasTheGoOfGoMod(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	docker, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	wanted := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	have := regexp.MustCompile(`(?m)^ARG GO_VERSION=(\S+)$`).FindSubmatch(docker)
	require.NotNil(t, wanted)
	require.NotNil(t, have)
	assert.Equal(t, string(wanted[1]), string(have[1]))
}

// What the images are built from is let in by .dockerignore.
func TestBuildContextIsComplete(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	require.Contains(t, lines, "*")
	build := regexp.MustCompile(`(?m)\./\S+`)
	var packages []string
	for _, in := range dockerfile(t)[0].instructions {
		if strings.Contains(in, "go build") {
			packages = build.FindAllString(in, -1)
		}
	}
	require.ElementsMatch(t, []string{"./worker", "./starter", "./internal/localaws/cmd/localaws"}, packages)

	list := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f",
		`{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}`}, packages...)...)
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	for _, path := range append(strings.Fields(string(out)), "edgefleet/go.mod", "edgefleet/go.sum") {
		top, _, _ := strings.Cut(strings.TrimPrefix(path, "edgefleet/"), "/")
		assert.Contains(t, lines, "!"+top, path)
	}
}
