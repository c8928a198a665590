// Package servers starts private RabbitMQ and Redis servers that tests may
// hurt: kill -9, restart with or without their data, fill, alarm, cluster,
// replicate, and put behind a network that is cut, slow or silent.
//
// Every server listens on loopback, on ports that it keeps over restarts, and
// ends with the process that started it, also when that is killed.
package servers
