package apitest

import "slices"

// endpointRefusals are what the operations of an endpoint refuse, beside its
// configuration.
func endpointRefusals() []refusal {
	return slices.Concat(patches(), rotations(), purges(), calls())
}

const atEmails = "/v1/endpoints/emails/"

// patches are of an endpoint.
func patches() []refusal {
	return []refusal{
		{"patch as JSON", "PATCH", "/v1/endpoints/emails", `{}`, nil, 415, "unsupported_media_type", nil},
		{"patch of nothing", "PATCH", "/v1/endpoints/emails", " ", []string{mergePatch}, 400, "malformed", nil},
		{"patch of an unknown endpoint", "PATCH", "/v1/endpoints/nope", `{"timeout":5}`, []string{mergePatch}, 404, "not_found", nil},
		{"patch of no endpoint's name", "PATCH", "/v1/endpoints/a%20b", `{}`, []string{mergePatch}, 400, "invalid_parameter", []string{"name"}},
		patch("patch is a list", `[{"op":"remove","path":"/retry"}]`, ""),
		patch("patch is null", `null`, ""),
		patch("patch without a URL", `{"url":null}`, "/url"),
		patch("patch of the secret away", `{"secret":null}`, "/secret"),
		patch("patch of the secret", `{"secret":"hush"}`, "/secret"),
		patch("patch of unknown fields", `{"colour":null,"retry":{"attempts":null},"name":"other"}`, "/colour", "/name", "/retry/attempts"),
		patch("patch with wrong types", `{"timeout":5,"paused":"no","headers":[],"labels":{"a":{"b":null}}}`, "/headers", "/labels/a", "/paused", "/timeout"),
		patch("patch with wrong values", `{"method":"GET","url":"ftp://a","timeout":"26m","retry":{"min_backoff":"7h","schedule":["x"]},
			"result":{"oversize":"keep","max_bytes":0},"headers":{"Authorization":"x"}}`,
			"/headers/Authorization", "/method", "/result/max_bytes", "/result/oversize", "/retry/schedule/0", "/timeout", "/url"),
		patch("patch with a null in a list", `{"retry":{"retry_on":[null]}}`, "/retry/retry_on/0"),
		patch("patch with a name twice", `{"timeout":"5s","timeout":"6s"}`, "/timeout"),
	}
}

// rotations are of a secret.
func rotations() []refusal {
	const rotate = atEmails + "rotate-secret"
	return []refusal{
		posted("rotate-secret with wrong values", rotate, `{"overlap":"31d","secret":"hush"}`, 422, "invalid", "/overlap", "/secret"),
		posted("rotate-secret with wrong types", rotate, `{"overlap":24,"secret":null,"grace":1}`, 422, "invalid",
			"/grace", "/overlap", "/secret"),
		posted("rotate-secret with a list", rotate, `[]`, 415, "unsupported_media_type"),
		posted("rotate-secret of an unknown endpoint", "/v1/endpoints/nope/rotate-secret", "", 404, "not_found"),
		posted("rotate-secret of no endpoint's name", "/v1/endpoints/-/rotate-secret", "", 400, "invalid_parameter", "name"),
	}
}

// purges end what waits at an endpoint.
func purges() []refusal {
	const purge = atEmails + "purge"
	return []refusal{
		posted("purge of ended tasks", purge, `{"states":["queued","failed"],"cursor":5,"limit":1}`, 422, "invalid", "/cursor", "/limit", "/states/1"),
		posted("purge of no states", purge, `{"states":[]}`, 422, "invalid", "/states"),
		posted("purge of one state as a word", purge, `{"states":"queued"}`, 422, "invalid", "/states"),
		posted("purge of an unknown endpoint", "/v1/endpoints/nope/purge", "", 404, "not_found"),
		posted("purge of the built-in endpoint", "/v1/endpoints/$callbacks/purge", "", 400, "invalid_parameter", "name"),
	}
}

// calls are tests of an endpoint.
func calls() []refusal {
	const test = atEmails + "test"
	return []refusal{
		posted("test with wrong types", test, `{"headers":{"Host":"x","X-A":"1\n"},"content_type":"","wait":"5s"}`, 422, "invalid",
			"/content_type", "/headers/Host", "/headers/X-A", "/wait"),
		posted("test with a media type that is none", test, `{"payload":"x","content_type":"text"}`, 422, "invalid", "/content_type"),
		posted("test with a header in the media type", test, `{"payload":"x","content_type":"text/x;a=\"\n\""}`, 422, "invalid", "/content_type"),
		posted("test with XML that is an object", test, `{"payload":{},"content_type":"text/xml"}`, 422, "invalid", "/payload"),
		posted("test with a payload too large", test, `{"payload":"`+times("x", 70<<10)+`"}`, 413, "payload_too_large"),
		posted("test of an unknown endpoint", "/v1/endpoints/nope/test", "", 404, "not_found"),
		posted("test of the built-in endpoint", "/v1/endpoints/$callbacks/test", "", 400, "invalid_parameter", "name"),
	}
}
