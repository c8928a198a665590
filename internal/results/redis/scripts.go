package redis

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts. lib.lua stands before those that write rows.
var (
	//go:embed lib.lua
	libLua string
	//go:embed create.lua
	createLua string
	//go:embed swap.lua
	swapLua string
	//go:embed accepted.lua
	acceptedLua string
	//go:embed renew.lua
	renewLua string
	//go:embed abandon.lua
	abandonLua string
	//go:embed await.lua
	awaitLua string
	//go:embed attempts.lua
	attemptsLua string
	//go:embed scan.lua
	scanLua string
	//go:embed lanes.lua
	lanesLua string
	//go:embed passed.lua
	passedLua string
	//go:embed unflag.lua
	unflagLua string
	//go:embed forget.lua
	forgetLua string
	//go:embed drop.lua
	dropLua string
	//go:embed lead.lua
	leadLua string
	//go:embed swapdocument.lua
	swapDocumentLua string
	//go:embed listdocuments.lua
	listDocumentsLua string

	createScript   = redis.NewScript(libLua + createLua)
	swapScript     = redis.NewScript(libLua + swapLua)
	acceptedScript = redis.NewScript(acceptedLua)
	renewScript    = redis.NewScript(renewLua)
	abandonScript  = redis.NewScript(libLua + abandonLua)
	awaitScript    = redis.NewScript(awaitLua)
	attemptsScript = redis.NewScript(attemptsLua)
	scanScript     = redis.NewScript(scanLua)
	lanesScript    = redis.NewScript(lanesLua)
	passedScript   = redis.NewScript(passedLua)
	unflagScript   = redis.NewScript(unflagLua)
	forgetScript   = redis.NewScript(forgetLua)
	dropScript     = redis.NewScript(dropLua)
	leadScript     = redis.NewScript(leadLua)

	swapDocumentScript  = redis.NewScript(swapDocumentLua)
	listDocumentsScript = redis.NewScript(listDocumentsLua)
)
