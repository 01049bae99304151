package main

// configuration is what is measured together, and how often.
type configuration struct {
	Name    string
	Loop    bool // over the SDK, instead of an onboarding
	Store   string
	Quotas  string
	Keys    string
	Devices int
	Runs    int
}

const (
	sqliteStore     = "sqlite" // a file, with a write-ahead log
	postgresqlStore = "postgresql"

	defaultQuotas = "default" // AWS's
	quotas100     = "100"     // calls a second, of every API
	liftedQuotas  = "lifted"  // no limit
)

// matrix is what `make bench` measures. What the quotas pace, and not the machine, comes out the
// same each time: once is enough.
var matrix = []configuration{
	{Name: "default-sqlite-aws", Store: sqliteStore, Quotas: defaultQuotas, Keys: "aws", Devices: 600, Runs: 1},
	{Name: "default-sqlite-csr", Store: sqliteStore, Quotas: defaultQuotas, Keys: "csr", Devices: 600, Runs: 1},
	{Name: "default-postgresql-aws", Store: postgresqlStore, Quotas: defaultQuotas, Keys: "aws", Devices: 600, Runs: 1},
	{Name: "default-loop", Loop: true, Quotas: defaultQuotas, Keys: "aws", Devices: 600, Runs: 1},

	{Name: "100-sqlite-aws", Store: sqliteStore, Quotas: quotas100, Keys: "aws", Devices: 600, Runs: 3},
	{Name: "100-postgresql-aws", Store: postgresqlStore, Quotas: quotas100, Keys: "aws", Devices: 600, Runs: 3},
	{Name: "100-loop", Loop: true, Quotas: quotas100, Keys: "aws", Devices: 600, Runs: 3},

	{Name: "lifted-sqlite-aws", Store: sqliteStore, Quotas: liftedQuotas, Keys: "aws", Devices: 1000, Runs: 3},
	{Name: "lifted-sqlite-csr", Store: sqliteStore, Quotas: liftedQuotas, Keys: "csr", Devices: 1000, Runs: 3},
	{Name: "lifted-postgresql-aws", Store: postgresqlStore, Quotas: liftedQuotas, Keys: "aws", Devices: 600, Runs: 3},
	{Name: "lifted-postgresql-csr", Store: postgresqlStore, Quotas: liftedQuotas, Keys: "csr", Devices: 600, Runs: 3},
	{Name: "lifted-loop", Loop: true, Quotas: liftedQuotas, Keys: "aws", Devices: 1000, Runs: 3},
}

// quotasOf turns the rates that are in force into those of a configuration. Without limit are S3's
// and STS's calls, and the counts of resources; they stay so.
func quotasOf(configured string, inForce map[string]float64) map[string]float64 {
	rates := map[string]float64{}
	for name, rate := range inForce {
		switch {
		case rate == 0 || configured == defaultQuotas:
			rates[name] = rate
		case configured == quotas100:
			rates[name] = 100
		default:
			rates[name] = 0
		}
	}
	return rates
}

// ceiling is how many devices a second the rates allow: each device needs each of these calls once.
// 0: there is no limit.
func ceiling(keys string, rates map[string]float64) float64 {
	issue := "iot:CreateKeysAndCertificate"
	if keys == "csr" {
		issue = "iot:CreateCertificateFromCsr"
	}
	lowest := 0.0
	for _, api := range []string{"iot:CreateThing", "sagemaker:RegisterDevices", issue, "iot:AttachThingPrincipal",
		"iot:AttachPolicy", "iot:UpdateCertificate", "credentials:AssumeRoleWithCertificate"} {
		if rate := rates[api]; rate > 0 && (lowest == 0 || rate < lowest) {
			lowest = rate
		}
	}
	return lowest
}
