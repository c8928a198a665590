// A user's program on a client generated from openapi.yaml: openapi-typescript makes schema.ts, the
// types, openapi-fetch makes calls of them. e2e/ts_test.go compiles and runs it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const { TASKGATE_URL: baseUrl, TASKGATE_KEY: key, HANDLER_URL: url, ENDPOINT: name } = process.env;
assert(baseUrl && key && url && name, "TASKGATE_URL, TASKGATE_KEY, HANDLER_URL and ENDPOINT must be set");

// The program is the receiver of its callback, too.
type TaskEvent = components["schemas"]["TaskEvent"];
const { promise: told, resolve: tell } = withResolvers<TaskEvent>();
const receiver = createServer(async (req, res) => {
  tell((await json(req)) as TaskEvent);
  res.writeHead(204).end();
}).listen(0, "127.0.0.1");
await once(receiver, "listening");
const callback = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/ended`;

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((r) => (resolve = r));
  return { promise, resolve };
}

const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

type Task = components["schemas"]["Task"];
type ProblemCode = components["schemas"]["ProblemCode"];

const endpoint = await api.PUT("/v1/endpoints/{name}", {
  params: { path: { name } },
  body: { url, timeout: "5s", retry: { max_attempts: 3, min_backoff: "50ms" } },
});
assert.equal(endpoint.response.status, 201);
assert(endpoint.data?.secret?.startsWith("whsec_"), "a new endpoint shows its secret");

// The same key and request, twice: one task.
async function submit(): Promise<Task> {
  const { data, response } = await api.POST("/v1/tasks", {
    params: { header: { "Idempotency-Key": `ts-${name}` } },
    body: { endpoint: name!, payload: { order: 4711 }, labels: { from: "typescript" }, callback: { url: callback } },
  });
  assert(data, `submitted: ${response.status}`);
  return data;
}
const task = await submit();
assert.equal((await submit()).id, task.id);

const ended = await api.GET("/v1/tasks/{id}", { params: { path: { id: task.id }, query: { wait: "30s" } } });
assert.equal(ended.data?.state, "succeeded");
assert.equal(ended.data.attempts, 2);
assert.deepEqual(ended.data.result?.body, { echo: { order: 4711 } });

const event = await told;
assert.equal(event.type, "task.succeeded");
assert.equal(event.data.id, task.id);
assert.deepEqual(event.data.result?.body, { echo: { order: 4711 } });
receiver.close();

const attempts = await api.GET("/v1/tasks/{id}/attempts", { params: { path: { id: task.id } } });
assert.deepEqual(attempts.data?.data.map((a) => a.reason), ["handler_5xx", undefined]);

const result = await api.GET("/v1/tasks/{id}/result", { params: { path: { id: task.id } }, parseAs: "text" });
assert.equal(result.data, '{"echo":{"order":4711}}');
assert.equal(result.response.headers.get("Taskgate-Status"), "200");

const list = await api.GET("/v1/tasks", { params: { query: { endpoint: name, state: ["succeeded"], label: ["from:typescript"] } } });
assert.deepEqual(list.data?.data.map((t) => t.id), [task.id]);

// Faults come all at once, with a code of a closed list.
const refused = await api.POST("/v1/tasks", { body: { endpoint: name, delay: "soon", timeout: "never" } });
assert(refused.error, "a bad request is refused");
const code: ProblemCode = refused.error.code;
assert.equal(code, "invalid");
assert.deepEqual(refused.error.errors?.map((f) => f.pointer).sort(), ["/delay", "/timeout"]);

const unknown = await api.GET("/v1/tasks/{id}", { params: { path: { id: "01jd3yv7q8k3w5n6p7r8s9tabc5" } } });
assert.equal(unknown.error?.code satisfies ProblemCode | undefined, "not_found");

// What the contract does not have does not compile.
// @ts-expect-error a field of another type
void (() => api.POST("/v1/tasks", { body: { endpoint: name, labels: { n: 1 } } }));
// @ts-expect-error an unknown state
void (() => api.GET("/v1/tasks", { params: { query: { state: ["lost"] } } }));

const deleted = await api.DELETE("/v1/endpoints/{name}", { params: { path: { name }, query: { force: "cancel" } } });
assert.equal(deleted.response.status, 204);
console.log(`ok ${task.id}`);
