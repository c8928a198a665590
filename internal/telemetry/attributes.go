package telemetry

import "go.opentelemetry.io/otel/attribute"

// The names of attributes are here and nowhere else. Those of HTTP are stable
// in OpenTelemetry's conventions, those of messaging and databases still
// change. None of them holds a path, a query, a header, a body or a key: a
// path may hold a token.
const (
	attrMethod   = attribute.Key("http.request.method")
	attrRoute    = attribute.Key("http.route")
	attrStatus   = attribute.Key("http.response.status_code")
	attrServer   = attribute.Key("server.address")
	attrDBSystem = attribute.Key("db.system.name")
	attrDBCall   = attribute.Key("db.operation.name")
	attrMQSystem = attribute.Key("messaging.system")
	attrMQCall   = attribute.Key("messaging.operation.type")
	attrMQDest   = attribute.Key("messaging.destination.name")

	attrService  = attribute.Key("service.name")
	attrVersion  = attribute.Key("service.version")
	attrInstance = attribute.Key("service.instance.id")

	attrProject  = attribute.Key("taskgate.project")
	attrKeyID    = attribute.Key("taskgate.key.id")
	attrReqID    = attribute.Key("taskgate.request.id")
	attrTask     = attribute.Key("taskgate.task.id")
	attrEndpoint = attribute.Key("taskgate.endpoint")
	attrAttempt  = attribute.Key("taskgate.attempt.number")
	attrSuspect  = attribute.Key("taskgate.attempt.suspect")
	attrLate     = attribute.Key("taskgate.attempt.late_ms")
	attrOutcome  = attribute.Key("taskgate.attempt.outcome")
	attrReason   = attribute.Key("taskgate.attempt.reason")
	attrSettled  = attribute.Key("taskgate.attempt.settled")
	attrState    = attribute.Key("taskgate.task.state")
	attrCode     = attribute.Key("taskgate.problem.code")
)
