// Package archtest holds the rules of who may import whom, each with its reason, and a test that
// the module keeps them. Paths are relative to the module.
package archtest

// room is a package, with those below it, and what of ours it may import.
type room struct {
	path string
	may  []string // rooms, besides itself
	why  string
}

const leafWhy = "a leaf is used by many rooms: what it imported, all of them would"

// rooms is every place for code. A package outside of them has no rules yet, which is a fault.
var rooms = []room{
	{"internal/task", nil, "the domain is pure: the same rules for every store, broker and transport"},

	{"internal/auth", []string{"internal/task"}, leafWhy},
	{"internal/config", nil, "plain data, readable before anything else exists"},
	{"internal/redisdb", []string{"internal/task"}, leafWhy},
	{"internal/seal", []string{"internal/task"}, leafWhy},
	{"internal/signing", []string{"internal/task"}, leafWhy},
	{"internal/sqlitedb", []string{"internal/task"}, leafWhy},
	{"internal/telemetry", []string{"internal/task"}, leafWhy},
	{"internal/ui", []string{"internal/task"}, "the console speaks to the public API only"},

	{"internal/broker", []string{"internal/task"}, "the portable queue must not know a driver, nor what is done with a task"},
	{"internal/broker/rabbit", []string{"internal/task", "internal/broker"}, "a driver knows its contract and its server"},
	{"internal/broker/sqlite", []string{"internal/task", "internal/broker", "internal/sqlitedb"}, "a driver knows its contract and its database"},

	{"internal/results", []string{"internal/task"}, "the portable store must not know a driver, nor who changes a task"},
	{"internal/results/redis", []string{"internal/task", "internal/results", "internal/redisdb"}, "a driver knows its contract and its server"},
	{"internal/results/sqlite", []string{"internal/task", "internal/results", "internal/sqlitedb"}, "a driver knows its contract and its database"},

	{"internal/registry", []string{"internal/task", "internal/seal"}, "the portable registry must not know a driver; it seals what it stores"},
	{"internal/registry/redis", []string{"internal/task", "internal/registry", "internal/redisdb"}, "a driver knows its contract and its server"},
	{"internal/registry/sqlite", []string{"internal/task", "internal/registry", "internal/sqlitedb"}, "a driver knows its contract and its database"},

	{"internal/lifecycle", []string{"internal/task"}, "the steps name what they need of queue and store as interfaces: they are tested with a crash between any two"},
	{"internal/bulk", []string{"internal/task", "internal/lifecycle"}, "a job changes tasks by the steps of lifecycle only, on every queue and store, and whoever asks for it"},
	{"internal/dispatch", []string{"internal/task", "internal/lifecycle", "internal/signing"}, "delivery must work with every queue and store, and without an API"},
	{"internal/admission", []string{"internal/task"}, "what refuses requests must not depend on what they would cost"},
	{".", nil, "the module's root holds the contract, for the API and its clients"},
	{
		"internal/api",
		[]string{".", "internal/task", "internal/lifecycle", "internal/bulk", "internal/auth", "internal/admission"},
		"the API must work with every queue and store, and without delivery",
	},

	{"internal/app", []string{"internal"}, "the composition root is the one place that knows everything below"},
	{"internal/contracttest", []string{"."}, "it judges by the contract alone: what the server's code says of itself proves nothing"},
	{"internal/nodetest", nil, "it runs tools that are not ours"},
	{"internal/archtest", nil, "rules about all packages belong to none"},

	{"client", nil, "a client of the public API must work without the server's code"},
	{"internal/cli", []string{"client"}, "the command line is a client like any other: what it cannot do through the API, a user's program cannot either"},
	{"cmd", []string{"internal/app", "internal/cli", "internal/config", "client"}, "main is flags, signals and one call: the wiring is in app, where e2e makes the same call"},
	{"e2e", []string{"internal/app", "internal/config", "client"}, "black box: what a case cannot see through the API, a user cannot either"},
	{"docs", []string{"internal/signing"}, "what the pages show is run, against what we really sign"},
	{"deployments", nil, "files for other programs; its tests check them against ours"},
	{"scripts", nil, "tools of the build must build when the product does not"},
}

// only lists where an outside package may be imported by code that ships.
type only struct {
	path string // with those below it
	in   []string
	why  string
}

var outside = []only{
	{"github.com/rabbitmq/amqp091-go", []string{"internal/broker/rabbit"}, "its reconnects, channels and delivery tags are one driver's business"},
	{"github.com/redis/go-redis", []string{"internal/results/redis", "internal/registry/redis", "internal/redisdb"}, "another store is another driver, not a change elsewhere"},
	{"github.com/labstack/echo", []string{"internal/api", "internal/app"}, "the move to its next major version must stay mechanical"},
	{"modernc.org/sqlite", []string{"internal/sqlitedb"}, "one writer with group commit: nobody else opens the file"},
	{"database/sql", []string{"internal/sqlitedb", "internal/broker/sqlite", "internal/results/sqlite", "internal/registry/sqlite"}, "SQL is for the drivers"},
	{"github.com/dunglas/httpsfv", []string{"internal/api"}, "structured fields are a matter of HTTP"},
	{"github.com/prometheus", []string{"internal/telemetry"}, "other rooms have small observers and do not know what listens"},
	{"github.com/alecthomas/kong", []string{"internal/cli"}, "the servers' flags are their settings: see internal/config"},
	{"github.com/coreos/go-oidc", []string{"internal/auth"}, "who may call is decided in one place"},
	{"github.com/go-jose/go-jose", []string{"internal/auth"}, "signatures of tokens are for who decides who may call"},
	{"go.opentelemetry.io", []string{"internal/telemetry"}, "rooms follow nothing themselves: they are handed functions, or none"},
	{"github.com/knadh/koanf", []string{"internal/config"}, "the rest sees plain data"},
	{"testing", nil, "code that ships does not test"},
	{"github.com/google/go-cmp", nil, "it panics by design: for tests only"},
	{"github.com/compose-spec", nil, "for the tests of deployments only"},
	{"go.uber.org/goleak", nil, "for tests only"},
	{"pgregory.net/rapid", nil, "for tests only"},
	{"github.com/standard-webhooks/standard-webhooks", nil, "our signatures are our own code, and this is what they are tested against"},
}

const (
	domainWhy = "the domain is standard library only: it must build, and mean the same, for ever"
	suiteWhy  = "a suite of tests is for tests: in code that ships it would bring package testing along"
)
