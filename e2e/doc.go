// Package e2e drives a whole Taskgate from outside, over HTTP only. The cases
// are written once and run on three targets:
//
//   - embedded: the composition root in this process, on SQLite;
//   - services: the real binaries as separate processes, two gateways and two
//     dispatchers, on RabbitMQ and Redis (TASKGATE_TEST_AMQP_URL and
//     TASKGATE_TEST_REDIS_URL, see scripts/services);
//   - url: anything that runs, at TASKGATE_E2E_URL with the key
//     TASKGATE_E2E_KEY. It must be allowed to call 127.0.0.1.
package e2e
